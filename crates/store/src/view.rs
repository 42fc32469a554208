//! The store's records as they are now.

use std::path::Path;
use std::sync::Arc;

use model::LayerId;

use crate::error::{Result, StoreError};
use crate::record::LayerRecord;
use crate::snapshot::{Containers, Images, Layers};
use crate::store::{Inner, Store};

impl Store {
    /// Returns the layers.
    ///
    /// # Errors
    /// When a state file cannot be locked or read.
    pub fn layers(&self) -> Result<Arc<Layers>> {
        let inner = &*self.inner;
        let own = inner.layers.snapshot()?;
        let others = inner.others.iter().map(|other| other.layers.snapshot());
        let others = others.collect::<Result<Vec<_>>>()?;
        Ok(inner.cached().layers(own, others))
    }

    /// Returns the images.
    ///
    /// # Errors
    /// When a state file cannot be locked or read.
    pub fn images(&self) -> Result<Arc<Images>> {
        let inner = &*self.inner;
        let own = inner.images.snapshot()?;
        let others = inner.others.iter().map(|other| other.images.snapshot());
        let others = others.collect::<Result<Vec<_>>>()?;
        Ok(inner.cached().images(own, others))
    }

    /// Returns the containers, stable and volatile.
    ///
    /// # Errors
    /// When a state file cannot be locked or read.
    pub fn containers(&self) -> Result<Containers> {
        Ok(Containers {
            own: self.inner.containers.snapshot()?,
        })
    }

    /// Returns a layer and all below it, itself first.
    ///
    /// # Errors
    /// [`StoreError::LayerUnknown`] when one is missing; see also [`Store::layers`].
    pub fn chain(&self, layer: &LayerId) -> Result<Vec<Arc<LayerRecord>>> {
        self.layers()?.chain(layer)
    }
}

impl Inner {
    /// Where the directory of a layer is: here, or in an additional store that has it.
    pub(crate) fn home_of(&self, layer: &LayerId) -> Result<&Path> {
        if self.others.is_empty() || self.home.join(layer).is_dir() {
            return Ok(&self.home);
        }
        for other in &self.others {
            if other.home.join(layer).is_dir() {
                return Ok(&other.home);
            }
        }
        Err(StoreError::LayerUnknown {
            wanted: layer.to_string(),
        })
    }
}
