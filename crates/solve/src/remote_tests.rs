//! Which entries are brought, and what becomes of those that cannot be.

use super::*;
use model::Manifest;
use model::event::Silent;
use model::{Descriptor, ManifestFormat, media_type};

/// A repository in memory.
#[derive(Default)]
struct Fake {
    name: String,
    entries: BTreeMap<String, RawManifest>,
    /// Entries that cannot be brought.
    broken: Vec<Digest>,
    fails: bool,
    asked: Mutex<Vec<String>>,
    brought: Mutex<usize>,
}

impl RemoteCache for Fake {
    fn name(&self) -> &str {
        &self.name
    }

    fn manifest(&self, tag: &str) -> Result<Option<RawManifest>, RemoteError> {
        self.asked.lock().unwrap().push(tag.to_owned());
        if self.fails {
            return Err("connection refused".into());
        }
        Ok(self.entries.get(tag).cloned())
    }

    fn image(&self, _: &str) -> Result<Option<RemoteImage>, RemoteError> {
        Ok(None)
    }

    fn bring(&self, manifest: &Digest) -> Result<ImageId, RemoteError> {
        *self.brought.lock().unwrap() += 1;
        if self.broken.contains(manifest) {
            return Err("a blob is gone".into());
        }
        Ok(ImageId::parse(&"7".repeat(64)).unwrap())
    }

    fn push(&self, _: &ImageId, _: &str) -> Result<(), RemoteError> {
        Ok(())
    }
}

#[derive(Default)]
struct Warnings(Mutex<Vec<String>>);

impl Reporter for Warnings {
    fn event(&self, event: Event) {
        if let Event::Warning { text } = event {
            self.0.lock().unwrap().push(text);
        }
    }
}

fn key(n: u8) -> StepKey {
    StepKey::from_bytes([n; 32])
}

fn diff(n: u8) -> DiffId {
    format!("sha256:{}", format!("{n:02x}").repeat(32))
        .parse()
        .unwrap()
}

fn layer(n: u8) -> LayerId {
    LayerId::from_bytes([n; 32])
}

fn time(seconds: i64) -> Timestamp {
    Timestamp::from_unix(seconds).unwrap()
}

/// The entry of step `last` of the steps 1, 2, …, which began on layer 0 and were performed at second 100 each.
fn listing(last: u8) -> Listing {
    Listing {
        base: Some(layer(0)),
        steps: (1..=last)
            .map(|n| Listed {
                key: key(n).to_string(),
                diff_id: Some(diff(n)),
                created: time(100),
            })
            .collect(),
    }
}

fn manifest(listing: Option<&Listing>, n: u8) -> RawManifest {
    let config = Descriptor::new(media_type::OCI_CONFIG, Digest::sha256(&[n]), 1);
    let mut manifest = Manifest::new(ManifestFormat::Oci, config, Vec::new());
    manifest
        .annotations
        .extend(listing.map(|listing| listing.annotation().unwrap()));
    RawManifest::from_manifest(manifest)
}

fn repository(name: &str, steps: &[u8]) -> Fake {
    let entry = |n: &u8| (key(*n).to_string(), manifest(Some(&listing(*n)), *n));
    Fake {
        name: name.to_owned(),
        entries: steps.iter().map(entry).collect(),
        ..Fake::default()
    }
}

fn ask(fakes: &[&Fake], known: usize, reporter: &dyn Reporter) -> Option<(String, usize)> {
    let all: Vec<Box<dyn RemoteCache + '_>> = fakes
        .iter()
        .map(|fake| Box::new(*fake) as Box<dyn RemoteCache + '_>)
        .collect();
    let keys: Vec<StepKey> = (1..=5).map(key).collect();
    let question = Question {
        base: Some(&layer(0)),
        keys: &keys,
        known,
        oldest: Some(time(50)),
    };
    let brought = Sources::new(&all, reporter).bring(&question, &|_| true)?;
    Some((brought.repository, brought.listing.steps.len()))
}

impl RemoteCache for &Fake {
    fn name(&self) -> &str {
        (**self).name()
    }
    fn manifest(&self, tag: &str) -> Result<Option<RawManifest>, RemoteError> {
        (**self).manifest(tag)
    }
    fn image(&self, tag: &str) -> Result<Option<RemoteImage>, RemoteError> {
        (**self).image(tag)
    }
    fn bring(&self, manifest: &Digest) -> Result<ImageId, RemoteError> {
        (**self).bring(manifest)
    }
    fn push(&self, image: &ImageId, tag: &str) -> Result<(), RemoteError> {
        (**self).push(image, tag)
    }
}

#[test]
fn the_longest_row_is_brought_and_nothing_else() {
    for (a, b, known, expected) in [
        (&[1, 2, 3, 4, 5][..], &[][..], 0, Some(("a", 5))),
        (&[1, 2, 3], &[], 0, Some(("a", 3))),
        // An entry in the middle may be lost: the last one has everything.
        (&[4], &[], 0, Some(("a", 4))),
        (&[1, 2], &[1, 2, 3], 0, Some(("b", 3))),
        // Of two equals the first repository.
        (&[2], &[2], 0, Some(("a", 2))),
        // What is known here is not asked for.
        (&[1, 2], &[], 2, None),
        (&[1, 2, 3], &[], 2, Some(("a", 3))),
        (&[], &[], 0, None),
    ] {
        let (a, b) = (repository("a", a), repository("b", b));
        let found = ask(&[&a, &b], known, &Silent);
        let expected = expected.map(|(name, steps)| (name.to_owned(), steps));
        assert_eq!(found, expected);
        let brought = *a.brought.lock().unwrap() + *b.brought.lock().unwrap();
        assert_eq!(brought, usize::from(expected.is_some()));
        for fake in [&a, &b] {
            let asked = fake.asked.lock().unwrap();
            let once: std::collections::BTreeSet<_> = asked.iter().collect();
            assert_eq!(once.len(), asked.len(), "each tag once");
            assert!(asked.len() <= 5 - known);
        }
    }
}

#[test]
fn an_entry_that_is_about_something_else_is_not_used() {
    let changed = |change: fn(&mut Listing)| {
        let mut listing = listing(2);
        change(&mut listing);
        Some(listing)
    };
    for (listing, expected) in [
        (changed(|_| {}), Some(("a".to_owned(), 2))),
        (None, None),
        (changed(|listing| listing.base = None), None),
        (changed(|listing| listing.base = Some(layer(9))), None),
        (changed(|listing| listing.steps.truncate(1)), None),
        (
            changed(|listing| listing.steps[0].key = key(9).to_string()),
            None,
        ),
        // Too old.
        (changed(|listing| listing.steps[0].created = time(50)), None),
    ] {
        let mut fake = repository("a", &[]);
        let entry = manifest(listing.as_ref(), 2);
        fake.entries.insert(key(2).to_string(), entry);
        assert_eq!(ask(&[&fake], 0, &Silent), expected);
    }
}

#[test]
fn what_cannot_be_brought_gives_way_to_a_shorter_row() {
    let mut fake = repository("a", &[1, 2, 3, 4, 5]);
    let digest = |fake: &Fake, n: u8| fake.entries[&key(n).to_string()].digest();
    fake.broken = vec![digest(&fake, 5), digest(&fake, 4)];
    let warnings = Warnings::default();
    assert_eq!(ask(&[&fake], 0, &warnings), Some(("a".to_owned(), 3)));
    let warnings = warnings.0.into_inner().unwrap();
    let place = format!("a:{}", key(5));
    let first = format!("the cache entry {place} is not used: a blob is gone");
    assert_eq!((warnings.len(), &warnings[0]), (2, &first));
    // Somewhere it is enough.
    fake.broken = (1..=5).map(|n| digest(&fake, n)).collect();
    *fake.brought.lock().unwrap() = 0;
    assert_eq!(ask(&[&fake], 0, &Silent), None);
    assert_eq!(*fake.brought.lock().unwrap(), TRIES);
}

#[test]
fn a_repository_that_is_away_is_told_of_once() {
    let mut away = repository("away", &[5]);
    away.fails = true;
    let there = repository("there", &[3]);
    let warnings = Warnings::default();
    let found = ask(&[&away, &there], 0, &warnings);
    assert_eq!(found, Some(("there".to_owned(), 3)));
    let warnings = warnings.0.into_inner().unwrap();
    assert_eq!(warnings, ["the cache away is not used: connection refused"]);
}

#[test]
fn layers_are_named_from_the_base_up() {
    let mut listing = listing(3);
    listing.steps[1].diff_id = None;
    let first = LayerId::chain(Some(&layer(0)), &diff(1));
    let third = LayerId::chain(Some(&first), &diff(3));
    let layers: Vec<_> = listing.entries().into_iter().map(|e| e.layer).collect();
    assert_eq!(layers, [Some(first), None, Some(third)]);
    let manifest = manifest(Some(&listing), 1);
    assert_eq!(Listing::read(&manifest), Some(listing));
}
