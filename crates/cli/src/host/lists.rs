//! Manifest lists of the store: found by what a user types, changed under their lock.

use anyhow::{Context as _, Result, bail};
use model::{ImageId, Reference};
use store::{List, Store, StoreError};
use transfer::{LookupError, NameRules};

use super::members;

/// A list that was found.
#[derive(Debug)]
pub struct FoundList {
    /// Its record.
    pub id: ImageId,
    /// The name that led to it; none when it was an identifier.
    pub name: Option<Reference>,
    /// What it was when it was found.
    pub list: List,
}

/// Finds a manifest list; an image of another kind is refused.
pub fn find(store: &Store, text: &str, rules: &NameRules) -> Result<FoundList> {
    let found = match transfer::lookup_image(&*store.images()?, text, rules) {
        Ok(found) => found,
        Err(LookupError::NotFound { wanted, .. }) => bail!("{wanted}: image not known"),
        Err(error) => return Err(error.into()),
    };
    let shown = found
        .name
        .as_ref()
        .map_or_else(|| text.to_owned(), ToString::to_string);
    let list = store
        .list(&found.image.id)?
        .with_context(|| format!("{shown}: image is not a manifest list"))?;
    Ok(FoundList {
        id: found.image.id.clone(),
        name: found.name,
        list,
    })
}

/// Changes a list while nobody else does; the change sees the list as the last writer left it.
pub fn change<T>(
    store: &Store,
    id: &ImageId,
    edit: impl FnOnce(&mut List) -> Result<T>,
) -> Result<T> {
    let lock = store.lock_list(id)?;
    let mut list = store
        .list(id)?
        .with_context(|| format!("{id}: image is not a manifest list"))?;
    let result = edit(&mut list)?;
    list.index.settle();
    store.save_list(&lock, &list)?;
    Ok(result)
}

/// Adds an image of the store to a list, which is made if the store has none of the name.
pub fn include(store: &Store, name: &str, image: &ImageId, rules: &NameRules) -> Result<()> {
    let named = rules.for_store(name)?;
    let name = named
        .first()
        .with_context(|| format!("{name:?} is no name for a list"))?
        .to_string();
    let made = match store.create_list(vec![name.clone()], &List::default()) {
        Ok(id) => id,
        // Another build may have made it a moment ago.
        Err(StoreError::ImageNameInUse { .. }) => find(store, &name, rules)?.id,
        Err(error) => return Err(error.into()),
    };
    let member = members::of_image(store, image)?;
    change(store, &made, |list| member.join(list).map(drop))
}
