//! Which kind of identity a credential is for.

use crate::authenticate::is_jwt;

#[test]
fn a_jwt_is_told_by_its_three_parts() {
    for good in ["a.b.c", "eyJ-_.A0.z"] {
        assert!(is_jwt(good), "{good}");
    }
    for bad in ["", "a", "a.b", "a.b.", ".b.c", "a..c", "a.b.c.d", "a.b.c=", "a.b+.c", "a.b.c ", "ory_at_x.y", "a.b.ü"] {
        assert!(!is_jwt(bad), "{bad}");
    }
}
