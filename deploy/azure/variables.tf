variable "resource_group_name" {
  type        = string
  description = "A resource group that is there."
}

variable "name" {
  type        = string
  default     = "ephemint"
  description = "What everything is named after: the app and the beginning of the Azure OpenAI resource's host name."

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,18}[a-z0-9]$", var.name))
    error_message = "3 to 20 lower-case letters, digits and hyphens, beginning with a letter and not ending with a hyphen."
  }
}

variable "location" {
  type        = string
  default     = null
  description = "Region of the app. Default: the resource group's."
}

variable "openai_location" {
  type        = string
  default     = "swedencentral"
  description = "Region of the Azure OpenAI resource; not every region has realtime models."
}

variable "image" {
  type        = string
  description = "Container image with the binary ephemint on its PATH."
}

variable "registry" {
  type        = object({ id = string, login_server = string })
  default     = null
  description = "The Azure Container Registry that the image is in, read with the same identity. Default: the image is public."
}

variable "audience" {
  type        = list(string)
  description = "What users' access tokens must name in aud: of Entra ID's version 2 tokens, the app registration's client id."

  validation {
    condition     = length(var.audience) > 0
    error_message = "At least one: without it tokens for any other service would do."
  }
}

variable "issuer" {
  type        = string
  default     = null
  description = "Who signs users' access tokens. Default: Entra ID, this subscription's tenant, version 2 tokens."
}

variable "allowed_origins" {
  type        = list(string)
  default     = []
  description = "Web origins that may call, such as https://app.example.com."
}

variable "public_url" {
  type        = string
  default     = null
  description = "The URL under which browsers reach the app. Default: the host name that Container Apps gives it."
}

variable "model" {
  type        = object({ name = string, version = string })
  default     = { name = "gpt-realtime", version = "2025-08-28" }
  description = "The model that is deployed."
}

variable "deployment" {
  type        = object({ name = string, sku = string, capacity = number })
  default     = { name = "voice", sku = "GlobalStandard", capacity = 1 }
  description = "The deployment: its name, its type, and how many units of the region's quota it takes."
}
