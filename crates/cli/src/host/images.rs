//! Images that a Containerfile names: in the store, or brought there from wherever their names lead.
//!
//! A build first wants to know what an image is, which its manifest and config say; its layers come when a step needs
//! them, and an image that no step needs stays where it is.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use builder::container::{BaseImage as Base, ContainerError};
use model::event::Reporter;
use model::{ImageId, Platform};
use solve::{BaseImage, Cancel, Images, Presence};
use store::Store;

use super::pulling::{Arriving, Begun, Puller, Ways};

/// Finds images by the names in a Containerfile.
pub struct StoreImages<'a> {
    /// The store.
    pub store: &'a Store,
    /// How images are brought there.
    pub ways: &'a Ways,
    /// Who is told of copies.
    pub reporter: &'a dyn Reporter,
    /// How many images are looked for at once.
    pub lanes: usize,
    /// What has not been asked for yet, or has not come yet.
    pub arrivals: Arrivals,
}

/// Images on their way.
#[derive(Default)]
pub struct Arrivals {
    /// What was found, or could not be, before it was asked for.
    ahead: Mutex<BTreeMap<Wanted, anyhow::Result<Arriving>>>,
    /// Images whose layers are elsewhere, with the names that they are fetched under.
    begun: Mutex<BTreeMap<(ImageId, String), Begun>>,
}

type Wanted = (String, Platform);

/// Why a name leads to no image.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// It is not here and could not be brought.
    #[error("{0:#}")]
    Pull(anyhow::Error),
    /// It cannot be read.
    #[error(transparent)]
    Base(#[from] ContainerError),
}

impl Images for StoreImages<'_> {
    type Error = ImageError;

    fn image(&self, name: &str, platform: &Platform) -> Result<BaseImage, ImageError> {
        let wanted = (name.to_owned(), platform.clone());
        let ahead = locked(&self.arrivals.ahead).remove(&wanted);
        let arriving = ahead.unwrap_or_else(|| self.begin(&wanted));
        match arriving.map_err(ImageError::Pull)? {
            Arriving::Here(pulled) => {
                let base = Base::load(self.store, &pulled.id, &pulled.name)?;
                described(base, Presence::Stored)
            }
            Arriving::Begun(begun) => {
                let image = described(begun.base_image(), Presence::Elsewhere)?;
                let key = (image.id.clone(), image.name.clone());
                locked(&self.arrivals.begun).insert(key, *begun);
                Ok(image)
            }
        }
    }

    fn fetch(&self, image: &BaseImage, cancel: &Cancel) -> Result<BaseImage, ImageError> {
        let key = (image.id.clone(), image.name.clone());
        let begun = locked(&self.arrivals.begun).remove(&key);
        if let Some(begun) = begun {
            let stop = Arc::new(AtomicBool::new(false));
            let turned = Arc::clone(&stop);
            let _registered = cancel.on_cancel(move || turned.store(true, Ordering::Relaxed));
            let pulled = self.puller(self.ways).finish(begun, &stop);
            pulled.map_err(ImageError::Pull)?;
        }
        let base = Base::load(self.store, &image.id, &image.name)?;
        described(base, Presence::Stored)
    }

    /// One image is looked for when it is asked for; several would otherwise wait for each other.
    fn foresee(&self, wanted: &[(String, Platform)]) {
        let lanes = self.lanes.min(wanted.len());
        if lanes < 2 {
            return;
        }
        let next = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..lanes {
                scope.spawn(|| {
                    while let Some(one) = wanted.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let arriving = self.begin(one);
                        locked(&self.arrivals.ahead).insert(one.clone(), arriving);
                    }
                });
            }
        });
    }
}

impl StoreImages<'_> {
    fn begin(&self, (name, platform): &Wanted) -> anyhow::Result<Arriving> {
        let other = Some(platform.clone()).filter(|wanted| !wanted.same_machine(&Platform::host()));
        let ways = self.ways.clone().for_platform(other);
        self.puller(&ways).begin_one(name)
    }

    fn puller<'p>(&'p self, ways: &'p Ways) -> Puller<'p> {
        Puller {
            store: self.store,
            ways,
            reporter: self.reporter,
        }
    }
}

fn described(base: Base, presence: Presence) -> Result<BaseImage, ImageError> {
    Ok(BaseImage {
        presence,
        config: base.inherited()?,
        id: base.id,
        name: base.name,
        digest: Some(base.digest),
        annotations: base.annotations,
        top_layer: base.layer,
    })
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
