/** Paths of what holds passwords and private keys, plain or with wildcards. Pure. */

/** The end of a file name. */
const end = "(?![\\w-])";
const secretPaths: readonly RegExp[] = [
  `(?<![\\w.-])etc/(?:\\{(?:[^{}\\s]{0,60},)?)?(?:shadow|gshadow|master\\.passwd|sudoers|security/passwd)-?${end}`,
  "(?<![\\w.-])id_(?:rsa|dsa|ecdsa|ed25519)(?![a-z0-9]|[\\w.-]{0,40}\\.pub(?!\\w))",
  // A key may have any name in that folder; the names of everything else are known.
  "\\.ssh/(?!known_hosts|config(?!\\w)|[\\w.@-]{1,100}\\.pub(?!\\w))[^\\s/\"'`,:;!?)]",
  `ssh_host_\\w{1,40}_key${end}(?!\\.pub)`,
  "etc/ssl/private/",
  "\\.gnupg/(?:private-keys|secring|[^\\s/]{0,100}\\*)",
  `private[-_.]?key[\\w-]{0,40}\\.(?:pem|key|der|p8|pk8|asc|gpg|txt)${end}`,
  `(?:privkey\\d{0,9}|(?<![\\w.-])key|(?<!pub|public)[-_.]key)\\.pem${end}`,
  `[\\w-]\\.(?:ppk|p12|pfx)${end}`,
  `(?<![^\\s/])(?:server|client|tls|ssl|ca|private|domain|host)\\.key${end}`,
  `(?<![\\w-])\\.(?:netrc|pgpass|git-credentials)${end}`,
  `\\.(?:aws/credentials|kube/config|docker/config\\.json|clawrent/config\\.json)${end}`,
  `(?<![\\w-])wallet\\.dat${end}`,
  `(?:system32/config/(?:sam|security)|(?<![\\w-])ntds\\.dit)${end}`,
  `proc/(?:self|[\\d*]{1,10})/(?:environ|mem)${end}`,
].map((source) => new RegExp(source));
/** Secret files that a path with wildcards may mean, by their last two segments. */
const secretNames = [
  "etc/shadow",
  "etc/gshadow",
  ".ssh/id_rsa",
  ".ssh/id_ed25519",
  ".ssh/id_ecdsa",
  ".aws/credentials",
];

/** The index at which a text with normalised paths names a secret file; -1 if it names none. */
export function findSecret(text: string): number {
  for (const pattern of secretPaths) {
    const at = text.search(pattern);
    if (at !== -1) return at;
  }
  for (const { 0: word, index } of text.matchAll(/[^\s;&|()<>`"']+/g)) {
    if (/[*?[]/.test(word) && word.includes("/") && mayMeanSecret(word)) return index;
  }
  return -1;
}

function mayMeanSecret(path: string): boolean {
  const pattern = path
    .slice(-200)
    .split("/")
    .slice(-2)
    .join("/")
    .replace(/\[[^\]/]{1,40}\]/g, "?");
  // `/etc/*` may mean anything; with one more letter it means the files that it finds.
  if (pattern.replace(/[*?]/g, "").length < 5) return false;
  return secretNames.some((name) => matchesGlob(name, pattern));
}

/** `*` and `?` inside segments. Only the last star is tried again, so the work is at most name × pattern. */
function matchesGlob(name: string, pattern: string): boolean {
  let nameAt = 0;
  let patternAt = 0;
  let star = -1;
  let retryAt = 0;
  while (nameAt < name.length) {
    const wanted = pattern[patternAt];
    if (wanted === "*") {
      star = patternAt;
      patternAt += 1;
      retryAt = nameAt;
    } else if (wanted === name[nameAt] || (wanted === "?" && name[nameAt] !== "/")) {
      nameAt += 1;
      patternAt += 1;
    } else if (star >= 0 && name[retryAt] !== "/") {
      retryAt += 1;
      nameAt = retryAt;
      patternAt = star + 1;
    } else return false;
  }
  return /^\**$/.test(pattern.slice(patternAt));
}
