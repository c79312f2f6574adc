//! Laws of the stage.

mod laws;
