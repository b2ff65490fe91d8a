/**
 * What people and agents open by a link: the claim, connect and share pages, the home page, the documents for agents
 * (claw-to-claw.md section 4), and the admin's pages (clawrent.md section 2.10). A page decodes a request into calls of
 * public functions and shows what they answer; it knows no rule and no database. GET never acts.
 */
import { addDocumentRoutes } from "./documents.js";
import type { HttpApp } from "./http.js";
import { addAdminPages } from "./pages/admin.js";
import { addAssetRoutes } from "./pages/assets.js";
import type { Pages } from "./pages/calls.js";
import { addClaimPage } from "./pages/claim.js";
import { addConnectPage } from "./pages/connect.js";
import { addHomePage } from "./pages/home.js";
import { addMissingPage } from "./pages/missing.js";
import { addSharePage } from "./pages/share.js";

export function addPageRoutes(app: HttpApp, pages: Pages, isSocket: (path: string) => boolean): void {
  addHomePage(app);
  addClaimPage(app, pages);
  addConnectPage(app, pages);
  addSharePage(app, pages);
  addAdminPages(app, pages);
  addMissingPage(app, isSocket);
  addAssetRoutes(app);
  addDocumentRoutes(app, pages.publicUrl);
}
