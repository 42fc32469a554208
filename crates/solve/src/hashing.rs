//! The digests of a stage's layers, computed while its next steps run.

use crate::error::StepError;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::JoinHandle;
use store::{FrozenDigest, FrozenTree, StoreError};

/// The thread that hashes frozen trees of one stage, in their order.
pub(crate) struct Hashing {
    trees: Option<Sender<FrozenTree>>,
    digests: Option<Receiver<Result<FrozenDigest, StoreError>>>,
    thread: Option<JoinHandle<()>>,
}

impl Hashing {
    /// Starts the thread.
    pub(crate) fn start(times: archive::Times) -> Self {
        let (trees, todo) = mpsc::channel::<FrozenTree>();
        let (done, digests) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            for tree in todo {
                if done.send(tree.digest(times)).is_err() {
                    return;
                }
            }
        });
        Self {
            trees: Some(trees),
            digests: Some(digests),
            thread: Some(thread),
        }
    }

    /// Hands it a tree.
    pub(crate) fn push(&self, tree: FrozenTree) {
        if let Some(trees) = &self.trees {
            // The thread only ends early when nobody waits for its digests any more.
            let _ = trees.send(tree);
        }
    }

    /// Waits for the digests of all trees.
    pub(crate) fn finish(mut self) -> Result<Vec<FrozenDigest>, StepError> {
        self.trees = None;
        let digests = self.digests.take();
        Ok(digests.into_iter().flatten().collect::<Result<_, _>>()?)
    }
}

impl Drop for Hashing {
    fn drop(&mut self) {
        // Without a reader the thread stops after the tree that it is at; waiting for it means
        // that no staged tree outlives the stage.
        self.trees = None;
        self.digests = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
