//! To whom new files belong.
//!
//! Below a mount whose owners are shifted the kernel makes no file for a user that does not exist
//! there, root included.

use std::io;
use std::marker::PhantomData;

use rustix::thread::{CapabilitySets, capabilities, set_capabilities};

/// While this lives, files that the calling thread makes belong to another user and group. Its
/// capabilities stay.
#[derive(Debug)]
pub struct MakingAs {
    user: libc::c_long,
    group: libc::c_long,
    rights: CapabilitySets,
    /// The change is that of one thread.
    _thread: PhantomData<*const ()>,
}

impl MakingAs {
    /// Makes the change.
    ///
    /// # Errors
    /// `EPERM` when this process may not act for others.
    pub fn new((uid, gid): (u32, u32)) -> io::Result<Self> {
        let rights = capabilities(None)?;
        let making = Self {
            group: set(libc::SYS_setfsgid, gid.into()),
            user: set(libc::SYS_setfsuid, uid.into()),
            rights,
            _thread: PhantomData,
        };
        // The calls themselves do not say whether they worked; nobody has the number -1.
        let now = (set(libc::SYS_setfsuid, -1), set(libc::SYS_setfsgid, -1));
        if now != (uid.into(), gid.into()) {
            return Err(io::Error::from_raw_os_error(libc::EPERM));
        }
        // To act for another user than root takes away what root may do with files.
        set_capabilities(None, making.rights)?;
        Ok(making)
    }
}

impl Drop for MakingAs {
    fn drop(&mut self) {
        set(libc::SYS_setfsuid, self.user);
        set(libc::SYS_setfsgid, self.group);
        let _ = set_capabilities(None, self.rights);
    }
}

fn set(call: libc::c_long, id: libc::c_long) -> libc::c_long {
    // SAFETY: takes and returns plain numbers; the raw call changes the calling thread only.
    unsafe { libc::syscall(call, id) }
}
