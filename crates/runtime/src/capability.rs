//! Capabilities by name and as a set of bits.

use std::str::FromStr;

macro_rules! capabilities {
    ($($variant:ident = $number:literal $name:literal,)*) => {
        /// One capability of Linux (capabilities(7)).
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        #[expect(missing_docs, reason = "named as in the kernel's manual")]
        pub enum Capability { $($variant = $number,)* }

        impl Capability {
            /// Every capability known here, by number.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// Returns the kernel's name, such as `CAP_CHOWN`.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

capabilities! {
    Chown = 0 "CAP_CHOWN",
    DacOverride = 1 "CAP_DAC_OVERRIDE",
    DacReadSearch = 2 "CAP_DAC_READ_SEARCH",
    Fowner = 3 "CAP_FOWNER",
    Fsetid = 4 "CAP_FSETID",
    Kill = 5 "CAP_KILL",
    Setgid = 6 "CAP_SETGID",
    Setuid = 7 "CAP_SETUID",
    Setpcap = 8 "CAP_SETPCAP",
    LinuxImmutable = 9 "CAP_LINUX_IMMUTABLE",
    NetBindService = 10 "CAP_NET_BIND_SERVICE",
    NetBroadcast = 11 "CAP_NET_BROADCAST",
    NetAdmin = 12 "CAP_NET_ADMIN",
    NetRaw = 13 "CAP_NET_RAW",
    IpcLock = 14 "CAP_IPC_LOCK",
    IpcOwner = 15 "CAP_IPC_OWNER",
    SysModule = 16 "CAP_SYS_MODULE",
    SysRawio = 17 "CAP_SYS_RAWIO",
    SysChroot = 18 "CAP_SYS_CHROOT",
    SysPtrace = 19 "CAP_SYS_PTRACE",
    SysPacct = 20 "CAP_SYS_PACCT",
    SysAdmin = 21 "CAP_SYS_ADMIN",
    SysBoot = 22 "CAP_SYS_BOOT",
    SysNice = 23 "CAP_SYS_NICE",
    SysResource = 24 "CAP_SYS_RESOURCE",
    SysTime = 25 "CAP_SYS_TIME",
    SysTtyConfig = 26 "CAP_SYS_TTY_CONFIG",
    Mknod = 27 "CAP_MKNOD",
    Lease = 28 "CAP_LEASE",
    AuditWrite = 29 "CAP_AUDIT_WRITE",
    AuditControl = 30 "CAP_AUDIT_CONTROL",
    Setfcap = 31 "CAP_SETFCAP",
    MacOverride = 32 "CAP_MAC_OVERRIDE",
    MacAdmin = 33 "CAP_MAC_ADMIN",
    Syslog = 34 "CAP_SYSLOG",
    WakeAlarm = 35 "CAP_WAKE_ALARM",
    BlockSuspend = 36 "CAP_BLOCK_SUSPEND",
    AuditRead = 37 "CAP_AUDIT_READ",
    Perfmon = 38 "CAP_PERFMON",
    Bpf = 39 "CAP_BPF",
    CheckpointRestore = 40 "CAP_CHECKPOINT_RESTORE",
}

/// A word that names no capability.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{}\": unknown capability", full(.0))]
pub struct UnknownCapability(pub String);

impl FromStr for Capability {
    type Err = UnknownCapability;

    /// Takes the name in any case, with or without `CAP_`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let upper = text.to_ascii_uppercase();
        let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
        let found = Self::ALL
            .iter()
            .find(|known| &known.name()["CAP_".len()..] == bare);
        found
            .copied()
            .ok_or_else(|| UnknownCapability(text.to_owned()))
    }
}

/// A set of capabilities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct CapabilitySet(u64);

impl CapabilitySet {
    /// Nothing.
    pub const EMPTY: Self = Self(0);

    /// What a build step has unless configured otherwise: the default of current container tools.
    pub const DEFAULT: Self = Self::of(&[
        Capability::Chown,
        Capability::DacOverride,
        Capability::Fowner,
        Capability::Fsetid,
        Capability::Kill,
        Capability::NetBindService,
        Capability::Setfcap,
        Capability::Setgid,
        Capability::Setpcap,
        Capability::Setuid,
        Capability::SysChroot,
    ]);

    /// The set of these.
    #[must_use]
    pub const fn of(list: &[Capability]) -> Self {
        let mut bits = 0;
        let mut at = 0;
        while at < list.len() {
            bits |= 1 << list[at] as u8;
            at += 1;
        }
        Self(bits)
    }

    /// Every capability known here.
    #[must_use]
    pub const fn all() -> Self {
        Self::of(Capability::ALL)
    }

    /// Says whether `capability` is in the set.
    #[must_use]
    pub fn contains(self, capability: Capability) -> bool {
        self.0 & 1 << capability as u8 != 0
    }

    /// Returns the set with `capability`.
    #[must_use]
    pub fn with(self, capability: Capability) -> Self {
        Self(self.0 | 1 << capability as u8)
    }

    /// Returns the set without `capability`.
    #[must_use]
    pub fn without(self, capability: Capability) -> Self {
        Self(self.0 & !(1 << capability as u8))
    }

    /// Returns the bits, numbered as in the kernel.
    #[must_use]
    pub fn bits(self) -> u64 {
        self.0
    }
}

/// A name as the other tools write it.
fn full(name: &str) -> String {
    let name = name.to_ascii_uppercase();
    match name.strip_prefix("CAP_") {
        Some(_) => name,
        None => format!("CAP_{name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_bits() {
        for (text, expected) in [
            ("CAP_CHOWN", Some(Capability::Chown)),
            ("chown", Some(Capability::Chown)),
            ("cap_sys_admin", Some(Capability::SysAdmin)),
            ("CAP_", None),
            ("", None),
        ] {
            assert_eq!(text.parse().ok(), expected, "{text}");
        }
        assert_eq!(CapabilitySet::DEFAULT.bits(), 0x8004_05fb);
        assert_eq!(CapabilitySet::all().bits(), (1 << 41) - 1);
        let set = CapabilitySet::EMPTY.with(Capability::Bpf);
        assert!(set.contains(Capability::Bpf));
        assert_eq!(set.without(Capability::Bpf), CapabilitySet::EMPTY);
    }
}
