//! Connections that are used again: a build that runs thirty steps connects once, not thirty times.
//!
//! A namespace keeps nothing of a run but its devices and rules, which only a process with rights
//! over networks can change.

use std::sync::{Mutex, PoisonError};

use super::{Link, Mode, NetworkError, Settings, connect};
use crate::{Capability, CapabilitySet};

/// Rights with which a run can leave something in a namespace.
const CHANGING: [Capability; 2] = [Capability::NetAdmin, Capability::SysAdmin];

/// The networks of the runs of one program. What is idle at the end is closed then.
#[derive(Debug, Default)]
pub struct Pool {
    settings: Settings,
    idle: Mutex<Vec<(Mode, Link)>>,
}

impl Pool {
    /// A pool without connections.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            idle: Mutex::default(),
        }
    }

    /// Returns the network of `mode` for one run.
    ///
    /// # Errors
    /// When it has to be made and cannot be.
    pub fn take(&self, mode: &Mode) -> Result<Link, NetworkError> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let found = idle.iter().position(|(of, _)| of == mode);
        if let Some(found) = found {
            return Ok(idle.swap_remove(found).1);
        }
        drop(idle);
        connect(mode, &self.settings)
    }

    /// Takes back the network of a run that had these capabilities.
    pub fn give_back(&self, mode: &Mode, link: Link, capabilities: CapabilitySet) {
        let changed = CHANGING.iter().any(|right| capabilities.contains(*right));
        if matches!(link, Link::Made(_)) && !changed {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            idle.push((mode.clone(), link));
        }
    }

    /// Closes what is idle.
    ///
    /// # Errors
    /// What could not be taken back; it is written down for later.
    pub fn close(&self) -> Result<(), NetworkError> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let links = std::mem::take(&mut *idle).into_iter();
        links
            .map(|(_, link)| link.close())
            .fold(Ok(()), Result::and)
    }
}
