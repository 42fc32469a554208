//! Images that a Containerfile names: in the store, or brought there from wherever their names lead.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use model::Platform;
use model::event::Reporter;
use solve::{BaseImage, Images};
use store::Store;

use super::pulling::{Pulled, Puller, Ways};

/// Finds images by the names in a Containerfile.
pub struct StoreImages<'a> {
    /// The store.
    pub store: &'a Store,
    /// How images are brought there.
    pub ways: &'a Ways,
    /// Who is told of copies.
    pub reporter: &'a dyn Reporter,
    /// How many images are fetched at once.
    pub lanes: usize,
    /// What was fetched before it was asked for.
    pub ahead: Ahead,
}

/// Images that were fetched, or could not be, by name and platform.
#[derive(Default)]
pub struct Ahead(Mutex<BTreeMap<Wanted, anyhow::Result<Pulled>>>);

type Wanted = (String, Platform);

/// Why a name leads to no image.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// It is not here and could not be brought.
    #[error("{0:#}")]
    Pull(anyhow::Error),
    /// It cannot be read.
    #[error(transparent)]
    Base(#[from] builder::container::ContainerError),
}

impl Images for StoreImages<'_> {
    type Error = ImageError;

    fn image(&self, name: &str, platform: &Platform) -> Result<BaseImage, ImageError> {
        let wanted = (name.to_owned(), platform.clone());
        let ahead = self.ahead.lock().remove(&wanted);
        let pulled = ahead.unwrap_or_else(|| self.pull(&wanted));
        let pulled = pulled.map_err(ImageError::Pull)?;
        let base = builder::container::BaseImage::load(self.store, &pulled.id, &pulled.name)?;
        Ok(BaseImage {
            config: base.inherited()?,
            id: base.id,
            name: base.name,
            digest: Some(base.digest),
            annotations: base.annotations,
            top_layer: base.layer,
        })
    }

    /// One image is fetched when it is asked for; several would otherwise wait for each other.
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
                        let pulled = self.pull(one);
                        self.ahead.lock().insert(one.clone(), pulled);
                    }
                });
            }
        });
    }
}

impl StoreImages<'_> {
    fn pull(&self, (name, platform): &Wanted) -> anyhow::Result<Pulled> {
        let other = Some(platform.clone()).filter(|wanted| !wanted.same_machine(&Platform::host()));
        let ways = self.ways.clone().for_platform(other);
        let puller = Puller {
            store: self.store,
            ways: &ways,
            reporter: self.reporter,
        };
        puller.pull_one(name)
    }
}

impl Ahead {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Wanted, anyhow::Result<Pulled>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
