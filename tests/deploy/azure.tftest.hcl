# deploy/azure, planned and applied with providers that are mocked.

mock_provider "azurerm" {
  mock_data "azurerm_client_config" {
    defaults = { tenant_id = "11111111-2222-3333-4444-555555555555" }
  }
  mock_data "azurerm_resource_group" {
    defaults = { location = "westeurope" }
  }
  mock_resource "azurerm_user_assigned_identity" {
    defaults = {
      id           = "/subscriptions/s/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/ephemint"
      client_id    = "99999999-8888-7777-6666-555555555555"
      principal_id = "22222222-3333-4444-5555-666666666666"
    }
  }
  mock_resource "azurerm_cognitive_account" {
    defaults = {
      id       = "/subscriptions/s/resourceGroups/g/providers/Microsoft.CognitiveServices/accounts/ephemint"
      endpoint = "https://ephemint-a1b2c3.openai.azure.com/"
    }
  }
  mock_resource "azurerm_container_app_environment" {
    defaults = { default_domain = "calm-sea.westeurope.azurecontainerapps.io" }
  }
}

mock_provider "random" {
  mock_resource "random_string" {
    defaults = { result = "a1b2c3" }
  }
}

variables {
  resource_group_name = "voice"
  image               = "example.azurecr.io/ephemint:1"
  audience            = ["66666666-7777-8888-9999-000000000000"]
  allowed_origins     = ["https://app.example.com"]
}

run "the_resource_takes_no_keys" {
  assert {
    condition     = azurerm_cognitive_account.openai.local_auth_enabled == false
    error_message = "keys are taken"
  }
  assert {
    condition     = azurerm_cognitive_account.openai.custom_subdomain_name == "ephemint-a1b2c3"
    error_message = "tokens need a host name of the resource's own"
  }
}

run "the_identity_may_use_the_resource_and_nothing_else" {
  assert {
    condition     = azurerm_role_assignment.openai_user.role_definition_name == "Cognitive Services OpenAI User"
    error_message = "another role"
  }
  assert {
    condition     = azurerm_role_assignment.openai_user.scope == azurerm_cognitive_account.openai.id
    error_message = "another scope"
  }
  assert {
    condition     = azurerm_role_assignment.openai_user.principal_id == "22222222-3333-4444-5555-666666666666"
    error_message = "another principal"
  }
  assert {
    condition     = length(azurerm_role_assignment.registry) == 0
    error_message = "a role at a registry that nobody named"
  }
  assert {
    condition     = azurerm_container_app.this.identity[0].identity_ids == tolist([azurerm_user_assigned_identity.this.id])
    error_message = "the app has another identity"
  }
}

run "the_app_holds_two_secrets_of_its_own" {
  assert {
    condition     = toset(azurerm_container_app.this.secret[*].name) == toset(["ephemint-toml", "pseudonym-key", "admin-token"])
    error_message = "other secrets"
  }
  assert {
    condition     = azurerm_container_app.this.template[0].container[0].env[*].name == tolist(["CONFIG_SHA256"])
    error_message = "something else is handed over in the environment"
  }
}

run "the_app_is_reached_and_watched" {
  assert {
    condition     = azurerm_container_app.this.ingress[0].external_enabled && azurerm_container_app.this.ingress[0].target_port == 8080 && !azurerm_container_app.this.ingress[0].allow_insecure_connections
    error_message = "another ingress"
  }
  assert {
    condition     = length(azurerm_container_app.this.ingress[0].cors) == 0
    error_message = "CORS is Ephemint's"
  }
  assert {
    condition     = azurerm_container_app.this.template[0].container[0].liveness_probe[0].path == "/livez" && azurerm_container_app.this.template[0].container[0].readiness_probe[0].path == "/readyz"
    error_message = "other probes"
  }
  assert {
    condition     = azurerm_container_app.this.template[0].min_replicas == 1 && azurerm_container_app.this.template[0].max_replicas == 1
    error_message = "limits in memory are those of one replica"
  }
}

run "the_configuration_is_of_what_was_made" {
  assert {
    condition = alltrue([for line in [
      "public_url = \"https://ephemint.calm-sea.westeurope.azurecontainerapps.io\"",
      "allowed_origins = [\"https://app.example.com\"]",
      "issuer = \"https://login.microsoftonline.com/11111111-2222-3333-4444-555555555555/v2.0\"",
      "audience = [\"66666666-7777-8888-9999-000000000000\"]",
      "base_url = \"https://ephemint-a1b2c3.openai.azure.com/openai/v1\"",
      "credential = { kind = \"managed_identity\", client_id = \"99999999-8888-7777-6666-555555555555\" }",
      "session = { model = \"voice\" }",
    ] : contains(split("\n", local.config), line)])
    error_message = "the configuration lacks a line"
  }
  assert {
    condition     = output.base_url == "https://ephemint-a1b2c3.openai.azure.com/openai/v1"
    error_message = "another base_url"
  }
}

run "a_private_registry_is_read_with_the_same_identity" {
  variables {
    registry = { id = "/subscriptions/s/resourceGroups/g/providers/Microsoft.ContainerRegistry/registries/example", login_server = "example.azurecr.io" }
  }
  assert {
    condition     = azurerm_role_assignment.registry[0].role_definition_name == "AcrPull" && azurerm_role_assignment.registry[0].principal_id == "22222222-3333-4444-5555-666666666666"
    error_message = "the image cannot be pulled"
  }
  assert {
    condition     = one(azurerm_container_app.this.registry[*].identity) == azurerm_user_assigned_identity.this.id
    error_message = "another identity at the registry"
  }
}

run "no_audience_is_refused" {
  command = plan
  variables {
    audience = []
  }
  expect_failures = [var.audience]
}

run "a_name_that_azure_would_refuse_is_refused" {
  command = plan
  variables {
    name = "Voice_"
  }
  expect_failures = [var.name]
}
