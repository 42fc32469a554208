//! Invariant: whatever the bytes are, containers.conf is read or refused, and a refusal or a warning names the file.

#![no_main]

use std::path::Path;

use config::ContainersConf;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let path = Path::new("fuzz.conf");
    match ContainersConf::parse(text, path) {
        Ok(conf) => {
            for warning in &conf.warnings {
                assert!(warning.to_string().starts_with("fuzz.conf:"));
            }
            assert!(conf.effective().len() > 50);
        }
        Err(error) => {
            let mut text = error.to_string();
            let mut cause = std::error::Error::source(&error);
            while let Some(error) = cause {
                text.push_str(&error.to_string());
                cause = error.source();
            }
            assert!(text.contains("fuzz.conf"), "{text}");
        }
    }
});
