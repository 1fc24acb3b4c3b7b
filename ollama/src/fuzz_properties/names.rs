//! The parser of model names.

use crate::{names::ModelName, patterns::allows};

/// The forms in which a name is written parse to the name itself: its canonical form is a fixed
/// point.
pub fn every_form_of_a_name_parses_to_that_name(text: &[u8]) {
    let Some(name) = str::from_utf8(text).ok().and_then(|text| ModelName::parse(text).ok()) else { return };
    let upper = name.as_str().to_ascii_uppercase();
    for spelling in [name.as_str(), name.as_written(), name.short(), &upper] {
        let again = ModelName::parse(spelling).unwrap_or_else(|error| panic!("{spelling:?} of {name}: {error}"));
        assert_eq!((again.as_str(), again.is_cloud()), (name.as_str(), name.is_cloud()), "{spelling:?}");
    }
    assert_eq!(name.as_str(), name.as_str().to_ascii_lowercase());
    let parts = format!("{}/{}/{}:{}", name.registry(), name.namespace(), name.model(), name.tag());
    assert_eq!(name.as_str(), parts);
    assert!(allows([name.as_str()], &name), "{name} is no pattern that matches itself");
}
