//! Puts results into repositories for other machines, on a thread beside the build.
//!
//! Nothing waits for it but the end of the build. The entry of a step is an image that is in the store for that time only.
//! The last entry of a stage goes first, with all its layers; the others then need no layer sent, and go several at once.

use crate::engine::Engine;
use crate::error::BuildError;
use crate::offers::{Offer, StepOffer};
use crate::remote::{Listing, RemoteError};
use builder::image::ImageParts;
use model::event::Event;
use model::{ImageConfig, ImageId, ManifestFormat};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::Receiver;
use std::sync::{Mutex, PoisonError};

/// How many entries go at once.
const LANES: usize = 4;

/// Pushes what is offered until the way is closed. The first failure ends the build, as it does in Buildah.
pub(crate) fn push_all(
    engine: &Engine<'_>,
    offers: &Receiver<Vec<Offer>>,
) -> Result<(), BuildError> {
    let mut result = Ok(());
    for batch in offers {
        if result.is_err() || engine.request.cancel.is_cancelled() {
            continue;
        }
        result = push_batch(engine, &batch);
        if result.is_err() {
            engine.cancel.cancel();
        }
    }
    if engine.request.cancel.is_cancelled() {
        // What failed then was told to stop.
        return Err(BuildError::Cancelled);
    }
    result
}

fn push_batch(engine: &Engine<'_>, batch: &[Offer]) -> Result<(), BuildError> {
    let Some((last, before)) = batch.split_last() else {
        return Ok(());
    };
    push(engine, last)?;
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(None));
    let worker = || {
        while let Some(offer) = before.get(next.fetch_add(1, Ordering::Relaxed)) {
            if let Err(error) = push(engine, offer) {
                next.store(before.len(), Ordering::Relaxed);
                let mut failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
                failed.get_or_insert(error);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..LANES.min(before.len()) {
            scope.spawn(worker);
        }
        worker();
    });
    let failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    failed.map_or(Ok(()), Err)
}

fn push(engine: &Engine<'_>, offer: &Offer) -> Result<(), BuildError> {
    let tag = offer.key().to_string();
    for cache in &engine.request.caches.to {
        let fail = |source| BuildError::PushCache {
            place: format!("docker://{}:{tag}", cache.name()),
            source,
        };
        let image = match offer {
            Offer::Step(step) => step_image(engine, step).map_err(fail)?,
            Offer::Image { image, .. } => image.clone(),
        };
        cache.push(&image, &tag).map_err(fail)?;
        engine.reporter.event(Event::Detail {
            text: format!("pushed the cache entry {}:{tag}", cache.name()),
        });
    }
    Ok(())
}

/// Returns the image that holds a step's layers for the time of the build.
fn step_image(engine: &Engine<'_>, step: &StepOffer) -> Result<ImageId, RemoteError> {
    let layers = builder::commit::layers_of(engine.store, Some(&step.layer))?;
    let mut listing = Listing::clone(&step.listing);
    listing.steps.truncate(step.steps);
    let created = listing.steps.last().map(|last| last.created);
    let parts = ImageParts {
        config: ImageConfig::for_platform(&step.platform),
        layers: &layers,
        history: Vec::new(),
        created: created.unwrap_or(engine.now()),
        annotations: BTreeMap::from([listing.annotation()?]),
        format: ManifestFormat::Oci,
        container: None,
        parent: None,
    };
    let there = engine.store.images()?;
    let made = builder::commit::put_image(engine.store, parts, Some(&step.layer), Vec::new())?;
    if there.get(&made.id).is_none() {
        engine.add_temporary(made.id.clone());
    }
    Ok(made.id)
}
