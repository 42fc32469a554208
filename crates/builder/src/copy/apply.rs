//! Carries a plan out below a root: part by part, and what must come late at the end.

use rustix::fs::AtFlags;
use sys::Root;

use super::error::target_error;
use super::gather::Gathered;
use super::late::{self, Late};
use super::make::both;
use super::place::Placer;
use super::plan::{FileTime, Part};
use super::writer::{Applied, Large, TreeWriter, Writer};
use super::{Chown, CopyError, Destination, Times, unpack};

/// Puts what was gathered into `target`, the root of a mounted container or any directory.
///
/// On an error the root holds a part of the copy; the caller discards it.
///
/// # Errors
/// When the destination does not fit the sources, a name in `--chown` is unknown, a source is no
/// longer what it was when it was gathered, or the kernel refuses.
pub fn apply(gathered: &Gathered, target: &Root) -> Result<Applied, CopyError> {
    apply_parts(gathered, (target, target), None)
}

/// Does what [`apply`] does, with the names in `--chown` looked up below another root, `accounts`.
///
/// # Errors
/// Those of [`apply`].
pub fn apply_with_accounts(
    gathered: &Gathered,
    target: &Root,
    accounts: &Root,
) -> Result<Applied, CopyError> {
    apply_parts(gathered, (target, accounts), None)
}

/// Does what [`apply`] does, and has the result hashed while large files are copied.
///
/// `digest` is called once when everything else is made, or not at all when hashing afterwards is
/// as good; it may ask for the contents of late files through what it is given. What it did not ask
/// for is copied afterwards.
///
/// # Errors
/// Those of [`apply`].
pub fn apply_digesting(
    gathered: &Gathered,
    target: &Root,
    digest: Digesting<'_>,
) -> Result<Applied, CopyError> {
    apply_parts(gathered, (target, target), Some(digest))
}

/// Digests the target while the contents of its late files are supplied.
pub type Digesting<'a> = &'a mut dyn FnMut(&mut (dyn archive::Supply + Send));

fn apply_parts(
    gathered: &Gathered,
    (target, accounts): (&Root, &Root),
    digest: Option<Digesting<'_>>,
) -> Result<Applied, CopyError> {
    let named_owner = named_owner(gathered, accounts)?;
    let made_owner = match (&gathered.chown, named_owner) {
        (Some(Chown::Ids { uid, gid }), _) => (*uid, *gid),
        (_, Some(owner)) => owner,
        _ => (0, 0),
    };
    let mut placer = Placer {
        target,
        owner: made_owner,
        onto: gathered.onto,
        made: Vec::new(),
    };
    let place = placer.place(gathered)?;
    let writer = Writer {
        target,
        gathered,
        named_owner,
    };
    let late_from = match &digest {
        Some(_) => late::first_part(gathered),
        None => gathered.parts.len(),
    };
    let mut applied = Applied::default();
    let mut late = Vec::new();
    for (index, part) in gathered.parts.iter().enumerate() {
        let made = match part {
            Part::Tree {
                root,
                parents,
                listings,
                locate,
                shape: _,
            } => {
                let mut tree = TreeWriter::new(&writer, &place, root, parents, listings, locate)?;
                if index >= late_from {
                    tree.large = Large::Late;
                    let made = tree.write()?;
                    late.push(tree);
                    made
                } else {
                    let made = tree.write()?;
                    tree.end()?;
                    made
                }
            }
            Part::Inline {
                name,
                content,
                mode,
                uid,
                gid,
            } => writer.inline(&place, name, content, (*mode, *uid, *gid))?,
            Part::Archive {
                root,
                listing,
                locate,
            } => unpack::unpack(&writer, root, listing, locate, &place)?,
        };
        applied.entries += made.entries;
        applied.bytes += made.bytes;
    }
    let mut files = Late::make(&late)?;
    for tree in &late {
        tree.end()?;
    }
    set_times_of_made(gathered, &placer)?;
    if let Some(digest) = digest.filter(|_| !late.is_empty()) {
        digest(&mut files);
    }
    files.finish()?;
    Ok(applied)
}

/// Returns what the names in `--chown` mean in the target.
fn named_owner(gathered: &Gathered, target: &Root) -> Result<Option<(u32, u32)>, CopyError> {
    let Some(Chown::Named(spec)) = &gathered.chown else {
        return Ok(None);
    };
    let owner = crate::passwd::Accounts::read(target).and_then(|accounts| accounts.owner(spec));
    owner.map(Some).map_err(|source| CopyError::Owner {
        spec: spec.clone(),
        source,
    })
}

/// Gives the directories that were made on the way to the destination the one time for all. A layer
/// of its own tells nothing of when it was made: there they get the latest time of the sources.
fn set_times_of_made(gathered: &Gathered, placer: &Placer<'_>) -> Result<(), CopyError> {
    let time = match (gathered.times, gathered.onto) {
        (Times::Fixed(seconds), _) => Some(FileTime { seconds, nanos: 0 }),
        (Times::Kept { .. }, Destination::Fresh) => gathered.latest(),
        (Times::Kept { .. }, Destination::Existing) => None,
    };
    let Some(time) = time else {
        return Ok(());
    };
    let times = both(time);
    for made in placer.made.iter().rev() {
        rustix::fs::utimensat(&made.parent, &made.name, &times, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|err| {
                target_error("set the times of", made.name.as_encoded_bytes())(err.into())
            })?;
    }
    Ok(())
}
