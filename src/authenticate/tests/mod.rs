//! Laws of the stage, and the forms of credentials.

mod laws;
mod shape;
