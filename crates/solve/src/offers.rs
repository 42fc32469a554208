//! What a build puts into repositories for other machines, on its way to the thread that does it.

use crate::key::StepKey;
use crate::remote::{Listing, RemoteCache};
use model::{ImageId, LayerId, Platform};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};

/// Something to put under a key.
#[derive(Clone, Debug)]
pub(crate) enum Offer {
    /// What a step came to.
    Step(Box<StepOffer>),
    /// What a stage came to.
    Image {
        /// Its key.
        key: StepKey,
        /// The image of the store.
        image: ImageId,
    },
}

/// What a step came to.
#[derive(Clone, Debug)]
pub(crate) struct StepOffer {
    /// The step's key.
    pub(crate) key: StepKey,
    /// The layer with all up to it.
    pub(crate) layer: LayerId,
    /// The platform of the stage.
    pub(crate) platform: Platform,
    /// The steps of the stage.
    pub(crate) listing: Arc<Listing>,
    /// How many of them it has, itself included.
    pub(crate) steps: usize,
}

impl Offer {
    /// Returns what it is put under.
    pub(crate) fn key(&self) -> &StepKey {
        match self {
            Self::Step(step) => &step.key,
            Self::Image { key, .. } => key,
        }
    }
}

/// The way to the thread that pushes.
#[derive(Debug, Default)]
pub(crate) struct Offers(Mutex<Option<Sender<Vec<Offer>>>>);

impl Offers {
    /// Opens the way; what is offered from now on arrives at the returned end.
    pub(crate) fn open(&self) -> Receiver<Vec<Offer>> {
        let (sender, offers) = mpsc::channel();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
        offers
    }

    /// Says that nothing more will be offered.
    pub(crate) fn close(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Offers something, in the order of the stage.
    pub(crate) fn send(&self, offers: Vec<Offer>) {
        let sender = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = &*sender
            && !offers.is_empty()
        {
            // The other end only goes when the build has ended.
            let _ = sender.send(offers);
        }
    }
}

/// The repositories that results are put into, as lines name them.
pub(crate) fn repositories(caches: &[Box<dyn RemoteCache + '_>]) -> Vec<String> {
    caches.iter().map(|cache| cache.name().to_owned()).collect()
}
