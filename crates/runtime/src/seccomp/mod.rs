//! System call filters: profiles as data, compiled to BPF by ourselves.
//!
//! libseccomp needs more than ten milliseconds for the default profile; this takes a fraction of
//! one, and the result is kept per set of capabilities. Rules are read as libseccomp reads them:
//! within one system call the first rule whose conditions hold decides. System calls of the x32
//! ABI, which common kernels do not have, get `ENOSYS`.

mod compile;
mod default;
mod json;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use sys::launch::Instruction;

use crate::{Capability, CapabilitySet};

/// Largest profile text, in bytes.
pub const MAX_PROFILE: usize = 4 << 20;
/// Most rules of a profile.
pub const MAX_RULES: usize = 4096;
/// Most conditions of one rule: the arguments of a system call.
pub const MAX_CONDITIONS: usize = 6;

/// Why a profile cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SeccompError {
    /// The text is longer than [`MAX_PROFILE`].
    #[error("the seccomp profile is larger than {MAX_PROFILE} bytes")]
    TooLarge,
    /// The text is not a profile.
    #[error("cannot read the seccomp profile")]
    Syntax(#[source] serde_json::Error),
    /// More than [`MAX_RULES`] rules or [`MAX_CONDITIONS`] conditions in one.
    #[error("the seccomp profile has too many rules or conditions")]
    TooManyRules,
    /// An action, such as asking a supervisor, is not supported.
    #[error("seccomp action `{0}` is not supported yet")]
    Action(String),
    /// A comparison is unknown.
    #[error("unknown seccomp comparison `{0}`")]
    Operator(String),
    /// An argument's number is above 5.
    #[error("a system call has no argument {0}")]
    Argument(u32),
    /// A rule depends on a capability that nobody knows.
    #[error("the seccomp profile depends on a capability that does not exist")]
    Capability(#[from] crate::UnknownCapability),
    /// The profile needs a program longer than the kernel takes.
    #[error("the seccomp profile needs {0} instructions, more than the kernel takes")]
    TooLong(usize),
    /// There is no table of system calls for this machine.
    #[error("seccomp filters are not supported yet on this architecture")]
    Architecture,
}

/// What happens to a system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// It is executed.
    Allow,
    /// It fails with this errno.
    Errno(u16),
    /// The process is killed.
    KillProcess,
    /// The thread is killed.
    KillThread,
    /// The process gets SIGSYS.
    Trap,
    /// It is executed and logged.
    Log,
    /// A tracer is told this value; without a tracer it fails with `ENOSYS`.
    Trace(u16),
}

/// A comparison of an argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Compare {
    Equal(u64),
    NotEqual(u64),
    Less(u64),
    LessOrEqual(u64),
    Greater(u64),
    GreaterOrEqual(u64),
    /// The argument and `mask` give `value`.
    Masked {
        mask: u64,
        value: u64,
    },
}

impl Compare {
    /// Says whether it holds for `argument`.
    #[must_use]
    pub fn holds(self, argument: u64) -> bool {
        match self {
            Self::Equal(value) => argument == value,
            Self::NotEqual(value) => argument != value,
            Self::Less(value) => argument < value,
            Self::LessOrEqual(value) => argument <= value,
            Self::Greater(value) => argument > value,
            Self::GreaterOrEqual(value) => argument >= value,
            Self::Masked { mask, value } => argument & mask == value,
        }
    }
}

/// A condition on one argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Condition {
    /// Which argument, from 0 to 5.
    pub argument: u8,
    /// The comparison.
    pub compare: Compare,
}

/// What happens to some system calls, under conditions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Names of the system calls.
    pub names: Vec<String>,
    /// What happens.
    pub action: Action,
    /// All must hold.
    pub conditions: Vec<Condition>,
    /// If not empty, the rule exists only on these architectures (Go's names).
    pub only_architectures: Vec<String>,
    /// The rule does not exist on these architectures.
    pub not_architectures: Vec<String>,
    /// The rule exists only when all of these are granted.
    pub only_with: Vec<Capability>,
    /// The rule exists only when none of these is granted.
    pub only_without: Vec<Capability>,
}

impl Rule {
    /// An unconditional rule for system calls whose names are separated by spaces.
    #[must_use]
    pub fn new(names: &str, action: Action) -> Self {
        Self {
            names: names.split_ascii_whitespace().map(str::to_owned).collect(),
            action,
            conditions: Vec::new(),
            only_architectures: Vec::new(),
            not_architectures: Vec::new(),
            only_with: Vec::new(),
            only_without: Vec::new(),
        }
    }

    fn applies(&self, architecture: &str, granted: CapabilitySet) -> bool {
        let named = |list: &[String]| list.iter().any(|name| name == architecture);
        (self.only_architectures.is_empty() || named(&self.only_architectures))
            && !named(&self.not_architectures)
            && self
                .only_with
                .iter()
                .all(|capability| granted.contains(*capability))
            && !self
                .only_without
                .iter()
                .any(|capability| granted.contains(*capability))
    }
}

/// A whole filter as data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// What happens to system calls that no rule decides.
    pub default: Action,
    /// The rules.
    pub rules: Vec<Rule>,
}

impl Profile {
    /// Returns the default profile, Podman's.
    #[must_use]
    pub fn standard() -> &'static Self {
        static STANDARD: OnceLock<Profile> = OnceLock::new();
        STANDARD.get_or_init(default::profile)
    }

    /// Reads a profile in the JSON form of Docker and Podman.
    ///
    /// # Errors
    /// When it is not one, or asks for what is not supported.
    pub fn parse(text: &[u8]) -> Result<Self, SeccompError> {
        json::parse(text)
    }

    /// Compiles the profile for this machine and a process with these capabilities.
    ///
    /// # Errors
    /// When the architecture is unknown or the program gets too long.
    pub fn compile(&self, granted: CapabilitySet) -> Result<Arc<[Instruction]>, SeccompError> {
        Ok(compile::compile(self, granted)?.into())
    }

    /// Compiles the default profile, once per set of capabilities.
    ///
    /// # Errors
    /// As [`Profile::compile`].
    pub fn compile_standard(granted: CapabilitySet) -> Result<Arc<[Instruction]>, SeccompError> {
        type Cache = Mutex<HashMap<CapabilitySet, Arc<[Instruction]>>>;
        static CACHE: OnceLock<Cache> = OnceLock::new();
        let cache = CACHE.get_or_init(Cache::default);
        let mut cache = cache.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(program) = cache.get(&granted) {
            return Ok(Arc::clone(program));
        }
        let program = Self::standard().compile(granted)?;
        cache.insert(granted, Arc::clone(&program));
        Ok(program)
    }
}
