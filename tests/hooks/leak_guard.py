#!/usr/bin/env python3
"""deploy/hooks/pre-commit in repositories of real git: what it refuses, what it lets pass, and that it never shows a secret.

No secret is written here as a whole, so that this file passes the guard itself.
"""
import base64, os, random, re, shutil, string, subprocess, tempfile, unittest
from pathlib import Path

HOOKS = Path(__file__).resolve().parents[2] / "deploy/hooks"
CHANCE = random.Random(7)
LETTERS = string.ascii_letters + string.digits
HEX = "0123456789abcdef"


def some(length, alphabet=LETTERS):
    """At random; from twenty on with what every key of that length has: a digit, a letter and some variety."""
    while True:
        text = "".join(CHANCE.choice(alphabet) for _ in range(length))
        if length < 20 or any(it.isdigit() for it in text) and any(it.isalpha() for it in text) and len(set(text)) >= 8:
            return text


def modern(prefix, length=156):
    """A key of today: base64url around the mark that all of them have."""
    half = (length - 8) // 2
    return f"{prefix}{some(half - 3)}-_{some(1)}" + "T3Blbk" + "FJ" + some(half)


PROJECT, SERVICE, ADMIN, NONE = "sk-" "proj-", "sk-" "svcacct-", "sk-" "admin-", "sk-" "None-"
LEGACY, EPHEMERAL, OURS, WEBHOOK = "sk" "-", "ek" "_", "epk" "_", "whsec" "_"
AZURE = some(52) + "JQQ" + "J99BKACYeBjF" + "XJ3w3AAAB" + "ACOG" + some(4)
hex32 = lambda: some(32, HEX)
in_base64 = lambda key: base64.b64encode(key.encode()).decode()

# What is written, with %s for the secret; the secret; what it is called.
REFUSED = [
    ("OPENAI_API_KEY=%s", modern(PROJECT), "OpenAI key (sk-proj-)"),
    ("%s", modern(PROJECT, 124), "OpenAI key (sk-proj-)"),
    ('key = "%s"', PROJECT + some(48), "OpenAI key (sk-proj-)"),
    ("Authorization: Bearer %s", PROJECT + some(20), "OpenAI key (sk-proj-)"),
    ('{"cell": "export KEY=1\\n%s\\n"}', modern(PROJECT), "OpenAI key (sk-proj-)"),
    ("https://x.invalid/?key=%%22%s%%22", modern(PROJECT), "OpenAI key (sk-proj-)"),
    ("prod_%s", modern(PROJECT), "OpenAI key (sk-proj-)"),
    ("**%s**", modern(PROJECT), "OpenAI key (sk-proj-)"),
    ("# an example of a test: %s", modern(PROJECT), "OpenAI key (sk-proj-)"),
    ("OPENAI_API_KEY: '%s'", modern(SERVICE), "OpenAI key (sk-svcacct-)"),
    ("openai.api_key='%s';", SERVICE + some(40), "OpenAI key (sk-svcacct-)"),
    ("<key>%s</key>", modern(ADMIN, 124), "OpenAI key (sk-admin-)"),
    ("%s", NONE + some(48), "OpenAI key (sk-None-)"),
    ("key: %s", LEGACY + some(20) + "T3Blbk" + "FJ" + some(20), "OpenAI key (sk-)"),
    ("key: %s", LEGACY + some(48), "OpenAI key (sk-)"),
    ("key: %s", LEGACY + some(20), "OpenAI key (sk-)"),
    ("key: %s", LEGACY + hex32(), "OpenAI key (sk-)"),
    ("key: %s", "sk-" "team-" + some(20) + "T3Blbk" + "FJ" + some(20), "OpenAI key (sk-)"),
    ("  OPENAI_API_KEY: %s", in_base64(modern(PROJECT)), "OpenAI key in base64"),
    ("  OPENAI_API_KEY: %s", in_base64(modern(SERVICE)), "OpenAI key in base64"),
    ("const value = '%s'", EPHEMERAL + hex32(), "ephemeral key (ek_)"),
    ("new WebSocket(url, ['realtime', 'openai-insecure-api-key.%s'])", EPHEMERAL + some(20), "ephemeral key (ek_)"),
    ("AZURE_OPENAI_API_KEY=%s", AZURE, "Azure key (JQQJ9)"),
    ("%s", AZURE, "Azure key (JQQJ9)"),
    ("AccessKey=%s==;Version=1.0;", AZURE + some(2), "Azure key (JQQJ9)"),
    ("AZURE_OPENAI_API_KEY=%s", hex32(), "Azure key (32 hex digits)"),
    ("azure_openai_key: %s", hex32(), "Azure key (32 hex digits)"),
    ("curl -H 'api-key: %s' https://x.invalid", hex32(), "Azure key (32 hex digits)"),
    ('headers["Ocp-Apim-Subscription-Key"] = "%s"', hex32(), "Azure key (32 hex digits)"),
    ('client = AzureOpenAI(api_key="%s")', hex32(), "Azure key (32 hex digits)"),
    ('<add key="AzureOpenAIKey" value="%s"/>', hex32(), "Azure key (32 hex digits)"),
    ('os.environ.get("AZURE_OPENAI_KEY", "%s")', hex32().upper(), "Azure key (32 hex digits)"),
    ("new AzureKeyCredential('%s')", hex32(), "Azure key (32 hex digits)"),
    ('api_key: str = "%s"', hex32(), "Azure key (32 hex digits)"),
    ("- name: AZURE_OPENAI_API_KEY\n  value: %s", hex32(), "Azure key (32 hex digits)"),
    ("EPHEMINT_KEY=%s", OURS + some(64, HEX), "API key of Ephemint (epk_)"),
    ("Authorization: Bearer %s", OURS + "0123456789abcdef" * 4, "API key of Ephemint (epk_)"),
    ("secret = '%s'", WEBHOOK + base64.b64encode(bytes(range(3, 27))).decode(), "secret of a webhook (whsec_)"),
    ("secret = '%s'", WEBHOOK + some(20) + "+/" + some(20) + "==", "secret of a webhook (whsec_)"),
]

PASSES = [
    "OPENAI_API_KEY=" + LEGACY + "...",
    "OPENAI_API_KEY=" + PROJECT + "...",
    "OPENAI_API_KEY=" + PROJECT + "…",
    PROJECT + "xxxx",
    PROJECT + "x" * 48,
    PROJECT + "aaaa" * 40,
    PROJECT + "xxxxxxxxxxxxxxxxxxxxxxxxxxxx1234",
    PROJECT + "your-key-goes-here-please",
    PROJECT + "YOUR_OPENAI_API_KEY_GOES_HERE",
    PROJECT + "canary-permanent-key-0001",
    PROJECT + "EXAMPLE" + some(30),
    PROJECT + "test-" + some(30),
    SERVICE + "canary-literal-AAAA-0123",
    ADMIN + "1234abcd",
    "sk-" "sandbox",
    "env://OPENAI_API_KEY and file:///run/secrets/openai",
    "a prefix is not a key: " + ", ".join([PROJECT, SERVICE, ADMIN, NONE, EPHEMERAL, OURS, WEBHOOK]),
    "task-" + some(30) + " desk-" + some(30) + " disk-" + some(30),
    "week_" + some(30) + " seek_" + some(30),
    ".sk-fading-circle .sk-circle12:before { } .sk-internationalizationmodule { }",
    "https://cdn.example.com/" "sk-translations-of-the-whole-shop",
    EPHEMERAL + "certificate_sha256_of_the_module",
    EPHEMERAL + "canary_minted_secret_12345678",
    EPHEMERAL + "0" * 32,
    OURS + "0" * 64,
    OURS + some(32, HEX),
    WEBHOOK + base64.b64encode(b"canary-webhook-secret-0123456789").decode(),
    WEBHOOK + "...",
    "md5: " + hex32(),
    "commit " + some(40, HEX) + " tree " + some(40, HEX),
    "api_key_hash = '" + hex32() + "'",
    "api_key = config.key; checksum = '" + hex32() + "'",
    "api-key: " + some(64, HEX),
    "AZURE_OPENAI_API_KEY=" + "0" * 32,
    "AZURE_OPENAI_API_KEY=<32 hex digits>",
    "checksum = \"" + some(64, HEX) + "\"",
    '"integrity": "sha512-' + base64.b64encode(CHANCE.randbytes(64)).decode() + '"',
    "index " + hex32()[:7] + ".." + hex32()[:7] + " " + "JQQ" "J99",
    "data:font/woff2;base64," + base64.b64encode(CHANCE.randbytes(40000)).decode(),
    "!function(){" + ";".join(f"var {some(3)}={{task:'ask-{some(6)}'}}" for _ in range(2000)) + "}()",
    modern(PROJECT) + " # ephemint:allow",
    "{/* ephemint:allow */} " + EPHEMERAL + hex32(),
]


class Repository(unittest.TestCase):
    def setUp(self):
        self.parent = Path(tempfile.mkdtemp(prefix="leak guard "))
        self.addCleanup(shutil.rmtree, self.parent)
        self.environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
        self.environment |= {"HOME": str(self.parent), "TMPDIR": str(self.parent), "GIT_CONFIG_NOSYSTEM": "1"}
        for who in ("AUTHOR", "COMMITTER"):
            self.environment |= {f"GIT_{who}_NAME": "somebody", f"GIT_{who}_EMAIL": "somebody@example.com"}
        self.root = self.parent / "a repository"
        self.root.mkdir()
        self.git("init", "-q", "-b", "main")
        self.git("config", "core.hooksPath", str(HOOKS))

    def run_in(self, folder, *command, **more):
        return subprocess.run(command, cwd=folder, env=self.environment, capture_output=True, **more)

    def git(self, *arguments, folder=None):
        run = self.run_in(folder or self.root, "git", *arguments)
        self.assertEqual(run.returncode, 0, (arguments, run.stderr))
        return run.stdout.decode()

    def write(self, name, content, add=True):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        if add:
            self.git("add", "--", f":(literal){name}")

    def commit(self, *arguments, folder=None):
        return self.run_in(folder or self.root, "git", "commit", "-q", "-m", "a change", *arguments)

    def base(self, name="a.txt", content="one\ntwo\nthree\n"):
        self.write(name, content)
        self.passes(self.commit())

    def passes(self, run):
        self.assertEqual((run.returncode, run.stdout, run.stderr), (0, b"", b""))

    def places(self, said):
        return len(re.findall("^  [^ ]", said, re.MULTILINE))

    def refused(self, run, place, kind, *secrets, code=1):
        said = run.stderr.decode(errors="replace")
        self.assertEqual((run.returncode, run.stdout), (code, b""), said)
        self.assertIn(f"  {place}: {kind}\n", said)
        self.assertIn("ephemint:allow", said)
        self.assertNotIn("--no-verify", said)
        for secret in secrets:
            self.assertNotIn(secret, said)
            self.assertNotIn(secret[-12:], said)
        return said


class Lines(Repository):
    def test_every_kind_of_secret_is_refused_by_place_and_kind_and_never_shown(self):
        self.base("other.txt")
        for number, (line, secret, kind) in enumerate(REFUSED):
            with self.subTest(line=line, kind=kind):
                name, text = f"case {number}.txt", line % secret
                self.write(name, f"first\n{text}\nlast\n")
                said = self.refused(self.commit(), f"{name}:{2 + text.count(chr(10))}", kind, secret)
                self.assertEqual(self.places(said), 1)
                self.git("rm", "-q", "-f", "--cached", name)

    def test_what_only_looks_a_little_like_a_secret_passes(self):
        self.base("other.txt")
        for number, text in enumerate(PASSES):
            with self.subTest(text=text[:100]):
                self.write(f"case {number}.txt", f"first\n{text}\nlast\n")
                self.passes(self.commit())

    def test_each_kind_is_named_once_for_a_line_and_every_line_is_named(self):
        key, other, ephemeral = modern(PROJECT), modern(PROJECT), EPHEMERAL + hex32()
        self.write("a", f"{key} {other} {ephemeral}\n\n{other}\n")
        said = self.refused(self.commit(), "a:1", "OpenAI key (sk-proj-)", key, other, ephemeral)
        self.assertIn("  a:1: ephemeral key (ek_)\n  a:3: OpenAI key (sk-proj-)\n", said)
        self.assertEqual(self.places(said), 3)

    def test_a_secret_is_found_wherever_in_a_long_line_it_stands(self):
        for at in [0, 3300, 3400, 3440, 3456, 3470, 4000, 4095, 4096, 4110, 70000]:
            with self.subTest(at=at):
                key = modern(PROJECT)
                self.write("long.js", ("a(1);" * 20000)[:at] + f"\"{key}\"" + ";b(2)" * 8000)
                self.refused(self.commit(), "long.js:1", "OpenAI key (sk-proj-)", key)

    def test_many_secrets_are_counted_and_not_all_listed(self):
        self.write("many", "".join(modern(PROJECT) + "\n" for _ in range(120)))
        said = self.refused(self.commit(), "many:50", "OpenAI key (sk-proj-)")
        self.assertIn("\n  and 70 more\n", said)
        self.assertNotIn("many:51:", said)

    def test_ten_thousand_lines_are_all_looked_at(self):
        key = modern(PROJECT)
        self.write("big.txt", "".join(f"{some(60)}\n" for _ in range(10000)) + key)
        self.refused(self.commit(), "big.txt:10001", "OpenAI key (sk-proj-)", key)


class Files(Repository):
    def test_lines_end_as_on_windows(self):
        key = modern(PROJECT)
        self.write("a.txt", f"first\r\nKEY={key}\r\n")
        self.refused(self.commit(), "a.txt:2", "OpenAI key (sk-proj-)", key)

    def test_a_last_line_without_an_end_counts(self):
        key = modern(PROJECT)
        self.write("a.txt", f"first\n{key}")
        self.refused(self.commit(), "a.txt:2", "OpenAI key (sk-proj-)", key)

    def test_binary_files_are_looked_at(self):
        key = modern(PROJECT)
        self.write("a.bin", b"\x00\x01\xff\xfe\nabc\x00" + key.encode() + b"\x00\x80\n")
        self.refused(self.commit(), "a.bin:2", "OpenAI key (sk-proj-)", key)

    def test_text_in_utf_16_is_looked_at(self):
        for coding in ["utf-16", "utf-16-be", "utf-16-le"]:
            with self.subTest(coding=coding):
                key = modern(PROJECT)
                self.write("a.ps1", f"first\nKEY={key}\n".encode(coding))
                self.refused(self.commit(), "a.ps1:2", "OpenAI key (sk-proj-)", key)

    def test_random_bytes_pass(self):
        self.write("a.bin", CHANCE.randbytes(1 << 20))
        self.passes(self.commit())

    def test_attributes_hide_nothing(self):
        key = modern(PROJECT)
        self.git("config", "diff.nothing.textconv", "true")
        self.git("config", "diff.nothing.command", "true")
        for attributes in ["-diff", "binary", "diff=nothing", "-text", "eol=crlf"]:
            with self.subTest(attributes=attributes):
                self.write(".gitattributes", f"a.txt {attributes}\n")
                self.write("a.txt", f"first\n{key}\n")
                self.refused(self.commit(), "a.txt:2", "OpenAI key (sk-proj-)", key)

    def test_any_name_is_a_place(self):
        for quoting in ["true", "false"]:
            self.git("config", "core.quotepath", quoting)
            for name, shown in [
                ("with two  spaces", "with two  spaces"),
                ("a 'single' one", "a 'single' one"),
                ('a "double" one', '"a \\"double\\" one"'),
                ("a\nline", '"a\\nline"'),
                ("a\ttab", '"a\\ttab"'),
                ("back\\slash", '"back\\\\slash"'),
                ("-dash", "-dash"),
                ("b/b/b", "b/b/b"),
                (":(exclude)x", ":(exclude)x"),
                ("*?[a]", "*?[a]"),
                ("+++ b", "+++ b"),
                ("$(id)`id`%s%%n", "$(id)`id`%s%%n"),
                ("\x1b[31mred", '"\\033[31mred"'),
                ("schl\u00fcssel", '"schl\\303\\274ssel"' if quoting == "true" else "schl\u00fcssel"),
            ]:
                with self.subTest(name=name, quoting=quoting):
                    key = modern(PROJECT)
                    self.write(name, f"first\n{key}\n")
                    self.refused(self.commit(), f"{shown}:2", "OpenAI key (sk-proj-)", key)
                    self.git("rm", "-q", "-f", "--", f":(literal){name}")

    def test_a_secret_in_a_name_is_refused_and_not_shown(self):
        key, hexadecimal = modern(PROJECT), hex32()
        for name, shown, kind, secret in [
            (f"keys/{key}.txt", "keys/<secret>.txt", "OpenAI key (sk-proj-)", key),
            (f"_{key}_", "<secret>", "OpenAI key (sk-proj-)", key),
            (f"api-key {hexadecimal}.txt", "api-key <secret>.txt", "Azure key (32 hex digits)", hexadecimal),
        ]:
            with self.subTest(shown=shown):
                self.write(name, f"{key}\n")
                said = self.refused(self.commit(), f"{shown}:name", kind, secret)
                self.assertIn(f"  {shown}:1: OpenAI key (sk-proj-)\n", said)
                self.git("rm", "-q", "-f", name)

    def test_a_symbolic_link_is_looked_at(self):
        key = modern(PROJECT)
        (self.root / "link").symlink_to(key)
        self.git("add", "link")
        self.refused(self.commit(), "link:1", "OpenAI key (sk-proj-)", key)

    def test_content_that_looks_like_a_patch_is_content(self):
        key, other = modern(PROJECT), modern(PROJECT)
        self.base(content="-- a\n++ b/c.txt\n@@ -1 +1 @@\nwhole\n")
        self.write("a.txt", f"++ b/other.txt\n@@ -1,9 +1,9 @@\ndiff --git a/x b/x\n\\ No newline\n+{key}\n-{other}\nwhole\n")
        said = self.refused(self.commit(), "a.txt:5", "OpenAI key (sk-proj-)", key, other)
        self.assertIn("  a.txt:6: OpenAI key (sk-proj-)\n", said)

    def test_a_huge_file_is_looked_at_up_to_a_bound_and_that_is_said(self):
        key, late = modern(PROJECT), EPHEMERAL + hex32()
        filler = ("x" * 1023 + "\n") * (32 << 10)
        self.write('huge "\u00fc".txt', f"first\n{key}\n{filler}{late}\n")
        self.write("small.txt", late)
        name = '"huge \\"\\303\\274\\".txt"'
        said = self.refused(self.commit(), f"{name}:2", "OpenAI key (sk-proj-)", key, late)
        self.assertIn(f"{name} is large: only its first 33554432 bytes are looked at", said)
        self.assertIn("  small.txt:1: ephemeral key (ek_)\n", said)
        self.assertEqual(self.places(said), 2)


class Staging(Repository):
    def test_the_first_commit_of_a_repository_is_looked_at(self):
        key = modern(PROJECT)
        self.write("a.txt", key)
        self.refused(self.commit(), "a.txt:1", "OpenAI key (sk-proj-)", key)
        self.write("a.txt", "env://OPENAI_API_KEY")
        self.passes(self.commit())

    def test_what_is_not_staged_does_not_count(self):
        self.base()
        self.write("a.txt", f"one\ntwo\nthree\n{modern(PROJECT)}\n", add=False)
        self.write("untracked", modern(PROJECT), add=False)
        self.write("b.txt", "fine\n")
        self.passes(self.commit())

    def test_what_is_staged_counts_even_when_the_work_tree_no_longer_has_it(self):
        key = modern(PROJECT)
        self.base()
        self.write("a.txt", f"one\n{key}\n")
        self.write("a.txt", "one\n", add=False)
        self.refused(self.commit(), "a.txt:2", "OpenAI key (sk-proj-)", key)

    def test_a_part_that_is_staged_counts_and_the_rest_does_not(self):
        key = modern(PROJECT)
        lines = [f"line {number}\n" for number in range(30)]
        self.base(content="".join(lines))
        for answers, refused in [(b"n\ny\n", False), (b"y\nn\n", True)]:
            self.write("a.txt", "".join([lines[0], key + "\n", *lines[1:29], "the end\n"]), add=False)
            self.assertEqual(self.run_in(self.root, "git", "add", "-p", input=answers).returncode, 0)
            if refused:
                self.refused(self.commit(), "a.txt:2", "OpenAI key (sk-proj-)", key)
            else:
                self.passes(self.commit())

    def test_commit_all_and_commit_of_a_path_are_looked_at(self):
        key = modern(PROJECT)
        self.base()
        self.write("a.txt", f"one\n{key}\n", add=False)
        self.refused(self.commit("-a"), "a.txt:2", "OpenAI key (sk-proj-)", key)
        self.refused(self.commit("a.txt"), "a.txt:2", "OpenAI key (sk-proj-)", key)
        self.refused(self.commit("--amend", "-a"), "a.txt:2", "OpenAI key (sk-proj-)", key)

    def test_lines_that_were_there_and_lines_that_go_do_not_count(self):
        key = modern(PROJECT)
        self.write("a.txt", f"one\n{key}\ntwo\nthree\nfour\nfive\n")
        self.git("commit", "-q", "--no-verify", "-m", "before the guard")
        self.write("a.txt", f"zero\none\n{key}\ntwo\nthree\nfour\n")
        self.passes(self.commit())
        self.git("mv", "a.txt", "renamed.txt")
        self.passes(self.commit())
        self.write("renamed.txt", "zero\none\ntwo\nthree\nfour\n")
        self.passes(self.commit())

    def test_lines_that_a_rename_adds_count(self):
        key = modern(PROJECT)
        self.base(content="".join(f"line {number}\n" for number in range(30)))
        self.git("mv", "a.txt", "b.txt")
        self.write("b.txt", (self.root / "b.txt").read_text() + key)
        self.refused(self.commit(), "b.txt:31", "OpenAI key (sk-proj-)", key)

    def test_a_copy_is_new(self):
        key = modern(PROJECT)
        self.write("a.txt", key)
        self.git("commit", "-q", "--no-verify", "-m", "before the guard")
        self.write("b.txt", key)
        self.refused(self.commit(), "b.txt:1", "OpenAI key (sk-proj-)", key)

    def test_a_merge_is_looked_at(self):
        key = modern(PROJECT)
        self.base()
        self.git("switch", "-q", "-c", "side")
        self.write("a.txt", "one\ntwo of side\nthree\n")
        self.passes(self.commit())
        self.git("switch", "-q", "main")
        self.write("a.txt", "one\ntwo of main\nthree\n")
        self.passes(self.commit())
        self.assertEqual(self.run_in(self.root, "git", "merge", "side").returncode, 1)
        self.write("a.txt", f"one\ntwo\n{key}\n")
        self.refused(self.commit(), "a.txt:3", "OpenAI key (sk-proj-)", key)
        self.write("a.txt", "one\ntwo\nthree\n")
        self.passes(self.commit())

    def test_every_setting_of_git_diff_leaves_the_places_right(self):
        key = modern(PROJECT)
        self.base()
        self.write("folder/a.txt", f"one\n\n{key}\n")
        for setting in ["noprefix=true", "mnemonicPrefix=true", "renames=copies", "context=9", "interHunkContext=9", "relative=true",
                        "external=true", "submodule=log", "wsErrorHighlight=all", "orderFile=/nowhere", "srcPrefix=x/", "dstPrefix=y/",
                        "suppressBlankEmpty=true", "colorMoved=zebra", "algorithm=patience", "noIndex=true", "ignoreSubmodules=all"]:
            self.git("config", *f"diff.{setting}".split("="))
        self.git("config", "color.ui", "always")
        self.git("config", "core.pager", "cat")
        self.environment |= {"GIT_EXTERNAL_DIFF": "true", "GIT_DIFF_OPTS": "-u9", "GIT_LITERAL_PATHSPECS": "1"}
        run = self.run_in(self.root / "folder", HOOKS / "pre-commit")
        self.refused(run, "folder/a.txt:3", "OpenAI key (sk-proj-)", key)


class Places(Repository):
    def test_from_a_folder_below_the_whole_commit_is_looked_at(self):
        key = modern(PROJECT)
        self.write("a.txt", key)
        self.write("folder/b.txt", "fine")
        self.refused(self.commit(folder=self.root / "folder"), "a.txt:1", "OpenAI key (sk-proj-)", key)
        self.refused(self.run_in(self.root / "folder", HOOKS / "pre-commit"), "a.txt:1", "OpenAI key (sk-proj-)", key)

    def test_a_linked_work_tree_is_looked_at(self):
        key = modern(PROJECT)
        self.base()
        tree = self.parent / "a tree"
        self.git("worktree", "add", "-q", "-b", "other", str(tree))
        (tree / "b.txt").write_text(key)
        self.git("add", "b.txt", folder=tree)
        self.refused(self.commit(folder=tree), "b.txt:1", "OpenAI key (sk-proj-)", key)

    def test_a_submodule_is_looked_at_where_it_is_committed(self):
        key = modern(PROJECT)
        self.base()
        self.git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(self.root), "sub")
        self.passes(self.commit())
        sub = self.root / "sub"
        self.git("config", "core.hooksPath", str(HOOKS), folder=sub)
        (sub / "b.txt").write_text(key)
        self.git("add", "b.txt", folder=sub)
        self.refused(self.commit(folder=sub), "b.txt:1", "OpenAI key (sk-proj-)", key)
        self.git("commit", "-q", "--no-verify", "-m", "of the submodule", folder=sub)
        self.git("add", "sub")
        self.passes(self.commit())

    def test_a_copy_in_the_folder_of_hooks_works(self):
        key = modern(PROJECT)
        self.git("config", "--unset", "core.hooksPath")
        (self.root / ".git/hooks").mkdir(exist_ok=True)
        shutil.copy(HOOKS / "pre-commit", self.root / ".git/hooks/pre-commit")
        self.write("a.txt", key)
        self.refused(self.commit(), "a.txt:1", "OpenAI key (sk-proj-)", key)

    def test_objects_may_have_long_names(self):
        shutil.rmtree(self.root / ".git")
        self.git("init", "-q", "-b", "main", "--object-format=sha256")
        self.git("config", "core.hooksPath", str(HOOKS))
        key = modern(PROJECT)
        self.write("a.txt", key)
        self.refused(self.commit(), "a.txt:1", "OpenAI key (sk-proj-)", key)


class Ways(Repository):
    def test_paths_that_are_allowed_are_not_looked_at_and_no_others(self):
        key = modern(PROJECT)
        self.git("config", "--add", "ephemint.allow", "fixtures/**")
        self.git("config", "--add", "ephemint.allow", "")
        self.git("config", "--add", "ephemint.allow", "**/*.snap with space")
        self.write("fixtures/deep/key.json", f'{{"key": "{key}"}}')
        self.write("x/y.snap with space", key)
        self.passes(self.commit())
        self.write("other/fixtures/key.json", key)
        self.refused(self.commit(), "other/fixtures/key.json:1", "OpenAI key (sk-proj-)", key)

    def test_all_looks_at_every_tracked_file(self):
        key = modern(PROJECT)
        all_of_it = lambda: self.run_in(self.root, HOOKS / "pre-commit", "--all")
        self.base()
        self.passes(all_of_it())
        self.write("folder/b.txt", f"first\n{key}\n")
        self.git("commit", "-q", "--no-verify", "-m", "past the guard")
        self.passes(self.run_in(self.root, HOOKS / "pre-commit"))
        self.refused(all_of_it(), "folder/b.txt:2", "OpenAI key (sk-proj-)", key)
        self.git("config", "ephemint.allow", "folder/**")
        self.passes(all_of_it())

    def test_what_cannot_be_looked_at_is_not_let_through(self):
        outside = self.parent / "no repository"
        outside.mkdir()
        self.base()
        self.write("b.txt", "fine")
        name = self.git("rev-parse", ":b.txt").strip()
        (self.root / ".git/objects" / name[:2] / name[2:]).unlink()
        (self.root / "b.txt").unlink()
        for folder, arguments in [(outside, []), (outside, ["--all"]), (self.root, ["--nothing"]), (self.root, ["--all", "x"]), (self.root, [])]:
            with self.subTest(folder=folder, arguments=arguments):
                run = self.run_in(folder, HOOKS / "pre-commit", *arguments)
                self.assertEqual((run.returncode, run.stdout), (2, b""), run.stderr)
                self.assertIn(b"nothing was checked", run.stderr)


if __name__ == "__main__":
    unittest.main()
