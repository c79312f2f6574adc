output "url" {
  value       = "https://${azurerm_container_app.this.ingress[0].fqdn}"
  description = "Where the app is."
}

output "base_url" {
  value       = "${trimsuffix(azurerm_cognitive_account.openai.endpoint, "/")}/openai/v1"
  description = "The upstream's base_url."
}

output "admin_token" {
  value       = random_password.admin_token.result
  sensitive   = true
  description = "For the operators' listener, which only the container itself reaches."
}
