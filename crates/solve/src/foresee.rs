//! The images that a build will ask for, as far as the file alone tells: they can be looked for side by side before the
//! plan, which needs each one's config, asks for them one after the other.
//!
//! A name that a variable of a stage decides is left out, and so is what a trigger of a base wants. What is foreseen and
//! then not needed does no harm but its cost, so only stages that the target reaches are looked at.

use model::Platform;

use crate::file_plan::FilePlan;
use crate::target::{NamedContext, UnusedStages};

impl FilePlan<'_> {
    /// Returns the names of images with the platforms that they are wanted for, each once, in the order of the file.
    pub(crate) fn foreseen(&self) -> Vec<(String, Platform)> {
        let stages = &self.target.file.containerfile.stages;
        let mut reached = vec![false; stages.len()];
        let mut ahead = match self.target.unused_stages {
            UnusedStages::Built => (0..=self.last).collect(),
            UnusedStages::Skipped => vec![self.last],
        };
        let mut found = Vec::new();
        while let Some(index) = ahead.pop() {
            if std::mem::replace(&mut reached[index], true) {
                continue;
            }
            let stage = &stages[index];
            let Ok(platform) = self.platform(stage) else {
                continue;
            };
            let mut images = Vec::new();
            if let Ok(base) = self.base_name(index) {
                let named = self.target.contexts.contains_key(&base);
                let given = self.target.base.is_some() && index == 0;
                match self.find_earlier(&base, index) {
                    Some(earlier) if !named && !given => ahead.push(earlier),
                    _ if base == "scratch" || base.is_empty() => {}
                    _ => images.push(base),
                }
            }
            let read = stage.steps.iter().flat_map(|step| step.references());
            for name in read.filter_map(containerfile::Template::as_literal) {
                let named = self.target.contexts.contains_key(&name);
                match self.find_any(&name, index) {
                    Some(other) if !named => ahead.push(other),
                    Some(_) => images.push(name),
                    None if name.bytes().all(|byte| byte.is_ascii_digit()) => {}
                    None => images.push(name),
                }
            }
            for name in images {
                match self.target.contexts.get(&name) {
                    Some(NamedContext::Directory(_)) => {}
                    Some(NamedContext::Image(image)) => {
                        found.push((index, image.clone(), platform.clone()));
                    }
                    None => found.push((index, name, platform.clone())),
                }
            }
        }
        found.sort_by_key(|(index, ..)| *index);
        let mut unique: Vec<(String, Platform)> = Vec::new();
        for (_, name, platform) in found {
            let wanted = (name, platform);
            if !unique.contains(&wanted) {
                unique.push(wanted);
            }
        }
        unique
    }
}
