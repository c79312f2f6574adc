//! Azure Key Vault and Entra ID.
