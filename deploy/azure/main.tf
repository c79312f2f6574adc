# Ephemint on Azure Container Apps. It reaches Azure OpenAI with a managed identity; the resource takes no keys at all.

provider "azurerm" {
  features {}
}

data "azurerm_client_config" "this" {}

data "azurerm_resource_group" "this" {
  name = var.resource_group_name
}

locals {
  location   = coalesce(var.location, data.azurerm_resource_group.this.location)
  config_dir = "/mnt/ephemint"

  config = templatefile("${path.module}/ephemint.toml.tftpl", {
    config_dir      = local.config_dir
    public_url      = coalesce(var.public_url, "https://${var.name}.${azurerm_container_app_environment.this.default_domain}")
    allowed_origins = jsonencode(var.allowed_origins)
    issuer          = coalesce(var.issuer, "https://login.microsoftonline.com/${data.azurerm_client_config.this.tenant_id}/v2.0")
    audience        = jsonencode(var.audience)
    base_url        = "${trimsuffix(azurerm_cognitive_account.openai.endpoint, "/")}/openai/v1"
    client_id       = azurerm_user_assigned_identity.this.client_id
    deployment      = azurerm_cognitive_deployment.voice.name
  })
}

# Who Ephemint is.

resource "azurerm_user_assigned_identity" "this" {
  name                = var.name
  resource_group_name = data.azurerm_resource_group.this.name
  location            = local.location
}

# Azure OpenAI. Host names are shared by everybody, hence the random end.

resource "random_string" "host" {
  length  = 6
  special = false
  upper   = false
}

resource "azurerm_cognitive_account" "openai" {
  name                  = "${var.name}-${random_string.host.result}"
  resource_group_name   = data.azurerm_resource_group.this.name
  location              = var.openai_location
  kind                  = "OpenAI"
  sku_name              = "S0"
  custom_subdomain_name = "${var.name}-${random_string.host.result}" # without one, Entra ID's tokens are not taken
  local_auth_enabled    = false
}

resource "azurerm_cognitive_deployment" "voice" {
  name                 = var.deployment.name
  cognitive_account_id = azurerm_cognitive_account.openai.id

  model {
    format  = "OpenAI"
    name    = var.model.name
    version = var.model.version
  }

  sku {
    name     = var.deployment.sku
    capacity = var.deployment.capacity
  }
}

resource "azurerm_role_assignment" "openai_user" {
  scope                = azurerm_cognitive_account.openai.id
  role_definition_name = "Cognitive Services OpenAI User"
  principal_id         = azurerm_user_assigned_identity.this.principal_id
  principal_type       = "ServicePrincipal"
}

resource "azurerm_role_assignment" "registry" {
  count                = var.registry == null ? 0 : 1
  scope                = var.registry.id
  role_definition_name = "AcrPull"
  principal_id         = azurerm_user_assigned_identity.this.principal_id
  principal_type       = "ServicePrincipal"
}

# Two secrets of Ephemint's own. Nothing else knows them, and Azure OpenAI is not opened by them.

resource "random_password" "pseudonym_key" {
  length  = 64
  special = false

  lifecycle {
    prevent_destroy = true # another key, and all users look new
  }
}

resource "random_password" "admin_token" {
  length  = 48
  special = false
}

# Where it runs.

resource "azurerm_log_analytics_workspace" "this" {
  name                = var.name
  resource_group_name = data.azurerm_resource_group.this.name
  location            = local.location
  retention_in_days   = 30
}

resource "azurerm_container_app_environment" "this" {
  name                       = var.name
  resource_group_name        = data.azurerm_resource_group.this.name
  location                   = local.location
  logs_destination           = "log-analytics"
  log_analytics_workspace_id = azurerm_log_analytics_workspace.this.id
}

resource "azurerm_container_app" "this" {
  name                         = var.name
  resource_group_name          = data.azurerm_resource_group.this.name
  container_app_environment_id = azurerm_container_app_environment.this.id
  revision_mode                = "Single"

  identity {
    type         = "UserAssigned"
    identity_ids = [azurerm_user_assigned_identity.this.id]
  }

  dynamic "registry" {
    for_each = var.registry[*]
    content {
      server   = registry.value.login_server
      identity = azurerm_user_assigned_identity.this.id
    }
  }

  # Container Apps mounts secrets as files, each under its name. The configuration holds none, but has no other way into the container.
  secret {
    name  = "ephemint-toml"
    value = local.config
  }

  secret {
    name  = "pseudonym-key"
    value = random_password.pseudonym_key.result
  }

  secret {
    name  = "admin-token"
    value = random_password.admin_token.result
  }

  ingress {
    external_enabled           = true
    target_port                = 8080
    transport                  = "http"
    allow_insecure_connections = false

    traffic_weight {
      latest_revision = true
      percentage      = 100
    }
  }

  template {
    # Limits are exact in one replica; for more, set up [store] with Redis first (deploy/docs/store-redis.md).
    min_replicas                     = 1
    max_replicas                     = 1
    termination_grace_period_seconds = 40

    container {
      name    = "ephemint"
      image   = var.image
      command = ["ephemint"]
      args    = ["serve", "--config", "${local.config_dir}/ephemint-toml"]
      cpu     = 0.5
      memory  = "1Gi"

      # So that a new configuration starts a new revision: secrets alone are not part of one.
      env {
        name  = "CONFIG_SHA256"
        value = sha256(local.config)
      }

      liveness_probe {
        transport = "HTTP"
        port      = 8080
        path      = "/livez"
      }

      readiness_probe {
        transport = "HTTP"
        port      = 8080
        path      = "/readyz"
      }

      volume_mounts {
        name = "config"
        path = local.config_dir
      }
    }

    volume {
      name         = "config"
      storage_type = "Secret"
    }
  }

  depends_on = [azurerm_role_assignment.openai_user, azurerm_role_assignment.registry]
}
