//! Files that an image gets because of what is in it, such as a bill of materials.
//!
//! What is looked for is the caller's; here its files become a layer between the last step and the commit.

use crate::commit::Draft;
use crate::engine::{Engine, GRACE, SIGTERM};
use crate::error::StepError;

impl Engine<'_> {
    /// Lets the scanner that the settings name look at a draft. Returns it with the scanner's files, if there are any.
    pub(crate) fn scanned<'d>(&self, draft: &Draft<'d>) -> Result<Option<Draft<'d>>, StepError> {
        let Some(scanner) = &draft.settings.scanner else {
            return Ok(None);
        };
        let stop = self.stop.clone();
        let _ending = self
            .request
            .cancel
            .on_cancel(move || stop.end(SIGTERM, GRACE));
        let root = self.store.read_only_root(draft.layer.as_ref())?;
        let files = scanner.scan(&root, &self.stop).map_err(|source| {
            if self.request.cancel.is_cancelled() {
                StepError::Cancelled
            } else {
                StepError::Scan(source)
            }
        })?;
        drop(root);
        if files.is_empty() {
            return Ok(None);
        }
        let times = self.request.times.files;
        let layer = builder::commit::add_files(self.store, draft.layer.as_ref(), &files, times)?;
        let layers = self.store.chain(&layer)?;
        let diff = layers
            .first()
            .and_then(|record| record.diff_digest.as_ref());
        let mut draft = draft.clone();
        draft
            .history
            .extend(diff.map(|diff| builder::commit::addition(diff, self.now())));
        draft.own += 1;
        draft.layer = Some(layer);
        Ok(Some(draft))
    }
}
