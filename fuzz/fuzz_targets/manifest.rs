//! Invariant: whatever the bytes are, the parsers of manifests, lists and configs return; what they accept can be written
//! again, and what was written once is written the same way after it was read again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use model::{Document, ImageConfig, ManifestFormat, Platform, edit, go_json, validate};

fuzz_target!(|data: &[u8]| {
    match Document::parse(data.to_vec()) {
        Ok(Document::Manifest(raw)) => {
            assert_eq!(raw.bytes(), data);
            let bytes = raw.manifest().to_bytes();
            let again: model::Manifest = serde_json::from_slice(&bytes).expect("we wrote it");
            assert_eq!(again.to_bytes(), bytes);
            let _ = validate::image(&raw, data);
        }
        Ok(Document::Index(raw)) => {
            let _ = raw.index().choose(&Platform::new("linux", "arm"));
            let bytes = raw.index().to_bytes();
            let again: model::Index = serde_json::from_slice(&bytes).expect("we wrote it");
            assert_eq!(again.to_bytes(), bytes);
        }
        Err(_) => {}
    }
    if let Ok(config) = ImageConfig::parse(data) {
        let lossless = go_json::to_vec(&config).expect("all keys are strings");
        assert_eq!(
            ImageConfig::parse(&lossless).expect("we wrote it").extra,
            config.extra
        );
        for format in [ManifestFormat::Oci, ManifestFormat::Docker] {
            let bytes = edit::into_dialect(config.clone(), format)
                .0
                .to_bytes(format);
            let again = ImageConfig::parse(&bytes).expect("we wrote it");
            assert_eq!(edit::into_dialect(again, format).0.to_bytes(format), bytes);
        }
    }
});
