//! AWS Secrets Manager, as moto's server speaks it.
