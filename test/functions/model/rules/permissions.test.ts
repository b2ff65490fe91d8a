/** Grants and their constraints (clawrent.md section 7.3). */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  addressRule,
  findGrant,
  grantedPermissions,
  isCommandAllowed,
  isSizeAllowed,
  missingPermissions,
  pathRule,
} from "../../../../functions/model/rules/permissions.js";

const isPathAllowed = (path: string, list: string[]) => pathRule(list)(path);
const isAddressAllowed = (address: string, list: string[]) => addressRule(list)(address);

describe("grantedPermissions", () => {
  const constraints = {
    commandWhitelist: ["ls"],
    pathWhitelist: ["/work"],
    networkWhitelist: ["example.com"],
    rateLimit: 5,
    maxFileSize: 10,
  };

  test("is nothing granted by default", () => {
    expect(grantedPermissions.parse(undefined)).toEqual({});
    expect(grantedPermissions.parse({})).toEqual({});
    expect(grantedPermissions.parse([])).toEqual({});
  });

  test("takes the map form", () => {
    expect(
      grantedPermissions.parse({
        "system.exec": true,
        "file.read": false,
        "file.write": { granted: true, constraints },
        "network.http": { granted: false },
      }),
    ).toEqual({
      "system.exec": { granted: true },
      "file.read": { granted: false },
      "file.write": { granted: true, constraints },
      "network.http": { granted: false },
    });
  });

  test("takes the array form, and makes the same map of it", () => {
    const list = [{ permissionId: "system.exec", granted: true, constraints }];
    expect(grantedPermissions.parse(list)).toEqual(
      grantedPermissions.parse({ "system.exec": { granted: true, constraints } }),
    );
  });

  test("reads its own result as the same grants", () => {
    const once = grantedPermissions.parse({ a: true, b: { granted: true, constraints }, c: false });
    expect(grantedPermissions.parse(JSON.parse(JSON.stringify(once)))).toEqual(once);
  });

  test("takes null for absent, and ignores what it does not know", () => {
    const given = { granted: true, note: "hello", constraints: { rateLimit: null, pathWhitelist: ["/a"], other: 1 } };
    expect(grantedPermissions.parse({ a: given, b: { granted: true, constraints: null } })).toEqual({
      a: { granted: true, constraints: { pathWhitelist: ["/a"] } },
      b: { granted: true },
    });
  });

  test("keeps an empty list, which allows nothing", () => {
    const granted = grantedPermissions.parse({ a: { granted: true, constraints: { commandWhitelist: [] } } });
    expect(granted["a"]?.constraints).toEqual({ commandWhitelist: [] });
  });

  const many = (count: number) => Array.from({ length: count }, (_, index) => `p${index}`);
  test.each([
    ["a text", "all"],
    ["a number", 1],
    ["null", null],
    ["a text for a grant", { a: "yes" }],
    ["a grant that does not say granted", { a: { constraints: {} } }],
    ["granted as a text", { a: { granted: "true" } }],
    ["an empty id", { "": true }],
    ["an id of 101 characters", { ["a".repeat(101)]: true }],
    ["an id that no field name can be", [{ permissionId: "权限", granted: true }]],
    ["an id for the prototype", [{ permissionId: "__proto__", granted: true }]],
    ["an id with a dollar in front", { $exec: true }],
    ["101 permissions", Object.fromEntries(many(101).map((id) => [id, true]))],
    ["101 permissions in a list", many(101).map((permissionId) => ({ permissionId, granted: true }))],
    ["the same permission twice", [...many(1), ...many(1)].map((permissionId) => ({ permissionId, granted: true }))],
    ["a whitelist of 101", { a: { granted: true, constraints: { commandWhitelist: many(101) } } }],
    ["an entry of 501 characters", { a: { granted: true, constraints: { pathWhitelist: ["a".repeat(501)] } } }],
    ["an empty entry", { a: { granted: true, constraints: { networkWhitelist: [" "] } } }],
    ["a whitelist that is a text", { a: { granted: true, constraints: { commandWhitelist: "ls" } } }],
    ["a rate below zero", { a: { granted: true, constraints: { rateLimit: -1 } } }],
    ["a broken rate", { a: { granted: true, constraints: { rateLimit: 1.5 } } }],
    ["a size as text", { a: { granted: true, constraints: { maxFileSize: "1 MB" } } }],
  ])("refuses %s", (_name, given) => {
    expect(grantedPermissions.safeParse(given).success).toBe(false);
  });

  test("takes 100 permissions and lists of 100, up to 16 KiB in all", () => {
    const hundred = Object.fromEntries(many(100).map((id) => [id.padEnd(100, "x"), { granted: true }]));
    expect(grantedPermissions.parse(hundred)).toEqual(hundred);
    const listed = (entry: string, count: number) => ({
      a: { granted: true, constraints: { commandWhitelist: many(count).map((id) => id.padEnd(entry.length, entry)) } },
    });
    expect(grantedPermissions.safeParse(listed("x".repeat(100), 100)).success).toBe(true);
    expect(grantedPermissions.safeParse(listed("x".repeat(500), 30)).success).toBe(true);
    expect(grantedPermissions.safeParse(listed("x".repeat(500), 40)).success).toBe(false);
  });
});

describe("missingPermissions", () => {
  test("lists what is required and not granted, each once and in order", () => {
    const granted = grantedPermissions.parse({ "file.read": true, "file.write": false });
    expect(missingPermissions(["network.http", "file.read", "file.write", "network.http"], granted)).toEqual([
      "network.http",
      "file.write",
    ]);
    expect(missingPermissions([], granted)).toEqual([]);
  });

  test("is not fooled by what every object inherits", () => {
    expect(missingPermissions(["constructor", "toString", "__proto__"], {})).toEqual([
      "constructor",
      "toString",
      "__proto__",
    ]);
    expect(findGrant({}, "hasOwnProperty")).toBeUndefined();
  });
});

describe("commandWhitelist", () => {
  const list = ["ls", "git", "npm"];
  test.each([
    "ls",
    "ls -la /tmp",
    "  git status",
    "npm run test:unit",
    "git log --format='%h %s'",
    "ls\t-l",
    "ls *.ts",
  ])("allows %j", (command) => {
    expect(isCommandAllowed(command, list)).toBe(true);
  });
  test.each([
    "",
    "   ",
    "rm x",
    "lsx",
    "LS",
    "/bin/ls",
    "./ls",
    '"ls"',
    "l\\s",
    "FOO=1 ls",
    "ls;rm x",
    "ls; rm x",
    "ls && rm x",
    "ls & rm x",
    "ls || rm x",
    "ls | sh",
    "ls `rm x`",
    "ls $(rm x)",
    `ls $${"{x@P}"}`,
    "ls <(rm x)",
    "ls =(rm x)",
    "ls > /etc/passwd",
    "ls >> log",
    "ls < input",
    "ls\nrm x",
    "ls\r\nrm x",
    "ls\u2028rm x",
    "ls\0rm x",
    "ls ';' rm",
    "\nrm x",
    "ls\u00a0x",
  ])("refuses %j", (command) => {
    expect(isCommandAllowed(command, list)).toBe(false);
  });
  test("that is empty allows nothing", () => {
    expect(isCommandAllowed("ls", [])).toBe(false);
  });
});

describe("pathWhitelist", () => {
  test.each([
    ["/work/a.txt", "/work"],
    ["/work", "/work"],
    ["/work/", "/work"],
    ["/work/a/b", "/work/"],
    ["/work/./a//b", "/work"],
    ["/anything", "/"],
    ["src/a.ts", "src"],
    ["./src/a.ts", "src"],
    ["src/a.ts", "./src"],
    ["a.ts", "."],
    ["~/project/a", "~/project"],
    ["C:\\work\\a.txt", "C:\\work"],
    ["c:/work/a.txt", "C:\\work"],
    ["/work/..a", "/work"],
    ["/work/a b.txt", "/work"],
    ["/work/100%.txt", "/work"],
    ["/work/文件.txt", "/work"],
    ["/work/.env.example", "/work"],
  ])("allows %j below %j", (path, entry) => {
    expect(isPathAllowed(path, ["/nowhere", entry])).toBe(true);
  });
  test.each([
    ["/etc/passwd", "/work"],
    ["/workshop/a", "/work"],
    ["/", "/work"],
    ["", "/work"],
    ["work/a", "/work"],
    ["/work/a", "work"],
    ["/work/../etc/passwd", "/work"],
    ["/work/a/../b", "/work"],
    ["..", "."],
    ["../a", "."],
    ["/work/..\\..\\etc", "/work"],
    ["C:\\work\\..\\x", "C:\\work"],
    ["D:\\work\\a", "C:\\work"],
    ["C:a.txt", "C:\\"],
    ["C:a.txt", "."],
    ["\\\\server\\share", "/server"],
    ["//work/a", "/work"],
    ["/work/%2e%2e/etc", "/work"],
    ["/work/%2E%2E%2Fetc", "/work"],
    ["/work/%252e%252e/etc", "/work"],
    ["/work/..%2fetc", "/work"],
    ["/work/%5c..", "/work"],
    ["/work/%c0%ae%c0%ae/etc", "/work"],
    ["/work/a%00.txt", "/work"],
    ["/work/a\0.txt", "/work"],
    ["/work/.. /etc", "/work"],
    ["/work/.../etc", "/work"],
    ["/work/．．/etc", "/work"],
    ["/work/a\n/etc/passwd", "/work"],
    ["/work/$(cat x)", "/work"],
    [`/work/$${"{HOME}"}`, "/work"],
    ["/work/`id`", "/work"],
    ["~/a", "."],
    ["~", "."],
    ["~root/a", "~"],
    ["file:///work/a", "/work"],
    ["file:///work/a", "."],
    ["/Work/a", "/work"],
    ["../shared/a", "../shared"],
    ["/work/a", ""],
  ])("refuses %j below %j", (path, entry) => {
    expect(isPathAllowed(path, [entry])).toBe(false);
  });
  test("holds for any mix of segments: what is allowed never leaves the folder", () => {
    const segment = fc.constantFrom("..", ".", "", "a", "b", "%2e%2e", "...", ".. ", "..\\..", "\\", "~", "C:", "etc");
    fc.assert(
      fc.property(fc.array(segment, { maxLength: 8 }), fc.constantFrom("/", "\\"), (segments, slash) => {
        const path = `/work${slash}${segments.join(slash)}`;
        if (!isPathAllowed(path, ["/work"])) return;
        // As Node resolves it, with either separator.
        const resolved = new URL(`file://${path.replaceAll("\\", "/")}`).pathname;
        expect(resolved === "/work" || resolved.startsWith("/work/"), `${path} → ${resolved}`).toBe(true);
      }),
      { numRuns: 2_000 },
    );
  });
});

describe("networkWhitelist", () => {
  test.each([
    ["https://api.example.com/v1?q=1#x", "api.example.com"],
    ["http://API.Example.com", "api.example.com"],
    ["https://api.example.com.", "api.example.com"],
    ["https://api.example.com:8443/", "api.example.com"],
    ["https://api.example.com:8443/", "api.example.com:8443"],
    ["https://api.example.com/", "api.example.com:443"],
    ["https://a.b.example.com/", "*.example.com"],
    ["https://a.example.com/", ".example.com"],
    ["https://münchen.example/", "xn--mnchen-3ya.example"],
    ["https://xn--mnchen-3ya.example/", "münchen.example"],
    ["http://127.0.0.1:3000/x", "127.0.0.1"],
    ["http://[::1]/", "::1"],
    ["http://[0:0::1]:80/", "[::1]"],
    ["https://example.com/path/@user", "example.com"],
  ])("allows %j by %j", (address, entry) => {
    expect(isAddressAllowed(address, ["other.example", entry])).toBe(true);
  });
  test.each([
    ["https://evil.com/", "example.com"],
    ["https://api.example.com/", "example.com"],
    ["https://example.com/", "*.example.com"],
    ["https://example.com/", ".example.com"],
    ["https://notexample.com/", "*.example.com"],
    ["https://example.com.evil.com/", "example.com"],
    ["https://example.com.evil.com/", "*.example.com"],
    ["https://example.com@evil.com/", "example.com"],
    ["https://example.com:443@evil.com/", "example.com"],
    ["https://user@example.com/", "example.com"],
    ["https://evil.com\\@example.com/", "example.com"],
    ["https://example.com\\@evil.com/", "example.com"],
    ["https://evil.com#@example.com/", "example.com"],
    ["https://example.com#@evil.com/", "example.com"],
    ["https://evil.com?.example.com/", "*.example.com"],
    ["https://example.com:99999/", "example.com"],
    ["https://api.example.com:8443/", "api.example.com:443"],
    ["https:example.com/", "example.com"],
    ["https:///example.com/", "example.com"],
    ["//example.com/", "example.com"],
    ["example.com", "example.com"],
    ["/path", "example.com"],
    ["ftp://example.com/", "example.com"],
    ["file:///etc/passwd", "example.com"],
    ["javascript://example.com/%0aalert(1)", "example.com"],
    ["https://exam\tple.com/", "example.com"],
    [" https://example.com/", "example.com"],
    ["https://example%2ecom/", "example.com"],
    ["https://evil.com%2f.example.com/", "*.example.com"],
    ["http://2130706433.evil.com/", "127.0.0.1"],
    ["https://example.com/", "*"],
    ["https://example.com/", "*.com.evil"],
    ["https://example.com/", "https://example.com"],
    ["https://example.com/", "*."],
    ["", "example.com"],
  ])("refuses %j by %j", (address, entry) => {
    expect(isAddressAllowed(address, [entry])).toBe(false);
  });
  test("sees an IPv4 address in its other spellings", () => {
    for (const host of ["0x7f.1", "2130706433", "0177.0.0.1"]) {
      expect(isAddressAllowed(`http://${host}/`, ["127.0.0.1"]), host).toBe(true);
      expect(isAddressAllowed(`http://${host}/`, [host.slice(1)]), host).toBe(false);
    }
  });
  test("is safe from long entries and addresses", () => {
    expect(isAddressAllowed(`https://${":".repeat(100_000)}x`, [`${":".repeat(499)}x`])).toBe(false);
    expect(isAddressAllowed(`https://${"a.".repeat(100_000)}com/`, [`*.${"b.".repeat(240)}com`])).toBe(false);
  });
});

test("maxFileSize counts UTF-8 bytes", () => {
  expect(isSizeAllowed("hello", 5)).toBe(true);
  expect(isSizeAllowed("hello!", 5)).toBe(false);
  expect(isSizeAllowed("你好", 6)).toBe(true);
  expect(isSizeAllowed("你好", 5)).toBe(false);
  expect(isSizeAllowed("", 0)).toBe(true);
});
