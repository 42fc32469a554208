//! Local archives that ADD unpacks.

use std::os::fd::OwnedFd;

use sys::Root;

use super::CopyError;
use super::apply::{Applied, Writer};
use super::place::Place;
use super::plan::{Listing, Locate};

pub(super) fn is_archive(
    _root: &Root,
    _listing: &Listing,
    _locate: &Locate,
) -> Result<bool, CopyError> {
    Ok(false)
}

pub(super) fn unpack(
    _writer: &Writer<'_>,
    _source: &OwnedFd,
    _listing: &Listing,
    _place: &Place,
) -> Result<Applied, CopyError> {
    Ok(Applied::default())
}
