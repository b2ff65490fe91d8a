/** Documents that admins write for everybody (clawrent.md section 8.1). Written and deleted by `docs:*`. */
export interface DocsTable {
  docId: string;
  type: "folder" | "document";
  title: string;
  slug: string;
  parentId: string | null;
  /** The slugs from the root, joined with slashes. */
  path: string;
  content: string;
  icon: string | null;
  status: "draft" | "published";
  version: number;
  changeSummary: string | null;
  createdAt: number;
  updatedAt: number;
}
