//! Invariant: whatever the bytes are, registries.conf is read or refused; what is read answers for every reference, and
//! every endpoint is a full name that ends like the one that was asked for.

#![no_main]

use std::path::Path;

use config::{RegistriesConf, RegistriesD, Use};
use libfuzzer_sys::fuzz_target;
use model::Reference;

const NAMES: [&str; 4] = [
    "example.com/foo/bar:1",
    "a.b.example.com:5000/x",
    "docker.io/library/x:latest",
    "localhost/x@sha256:0000000000000000000000000000000000000000000000000000000000000000",
];

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let path = Path::new("fuzz");
    let _ = RegistriesD::default().merge(text, path);
    let Ok(conf) = RegistriesConf::parse(text, path) else {
        return;
    };
    for name in NAMES {
        let reference: Reference = name.parse().expect("it is one");
        for purpose in [Use::Pull, Use::Push] {
            for place in conf.endpoints(&reference, purpose).into_iter().flatten() {
                assert_eq!(place.reference.digest(), reference.digest());
                assert_eq!(
                    place.reference.to_string().parse::<Reference>().as_ref(),
                    Ok(&place.reference)
                );
            }
        }
    }
    for setting in conf.effective() {
        let _ = setting.value.to_string();
    }
});
