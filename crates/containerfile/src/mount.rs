//! The value of `RUN --mount`: comma-separated keys, decoded by type.
//!
//! Works on text whose variables are expanded. Names are not resolved and paths not
//! cleaned; defaults that need no knowledge of the build are filled in.

use std::fmt;

/// Permission bits of a cache directory.
const CACHE_MODE: u32 = 0o755;
/// Permission bits of a secret.
const SECRET_MODE: u32 = 0o400;
/// Permission bits of an agent socket.
const SSH_MODE: u32 = 0o600;
/// Where a secret without target goes.
const SECRETS: &str = "/run/secrets";

/// A decoded `RUN --mount`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunMount {
    /// `type=bind`, the default.
    Bind(BindMount),
    /// `type=cache`
    Cache(CacheMount),
    /// `type=tmpfs`
    Tmpfs(TmpfsMount),
    /// `type=secret`
    Secret(SecretMount),
    /// `type=ssh`
    Ssh(SshMount),
}

/// Whether a mount can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// It cannot.
    ReadOnly,
    /// It can.
    ReadWrite,
}

/// How the files of a mount are labelled for SELinux.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Relabel {
    /// `z`: for all containers.
    Shared,
    /// `Z`: for this container.
    Private,
}

/// A switch of a bind mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BindOption {
    /// `nosuid`
    NoSuid,
    /// `nodev`
    NoDev,
    /// `noexec`
    NoExec,
    /// `no-dereference`: a link as the source is mounted itself.
    NoDereference,
    /// `bind-nonrecursive`: mounts below the source are left out.
    NonRecursive,
}

/// `type=bind`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BindMount {
    /// The path in the container; a relative one is joined to the working directory.
    pub target: String,
    /// The path below the root of `from`; none is the root.
    pub source: Option<String>,
    /// A stage, an index, a named context or an image; none is the build context.
    pub from: Option<String>,
    /// Read only unless `rw` was given.
    pub access: Access,
    /// `bind-propagation`, and the propagation words alone.
    pub propagation: Option<String>,
    /// Switches, in the order given.
    pub options: Vec<BindOption>,
    /// `z`, `Z` and `relabel`.
    pub relabel: Option<Relabel>,
    /// `U`: the files are given to the user of the step.
    pub chown: bool,
}

/// Who may use a cache at the same time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum CacheSharing {
    /// Everybody.
    #[default]
    Shared,
    /// One step after the other.
    Locked,
    /// Everybody, each with a directory of its own.
    Private,
}

/// `type=cache`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheMount {
    /// The path in the container.
    pub target: String,
    /// The name of the cache; the target if none was given.
    pub id: String,
    /// What a new cache is filled from.
    pub from: Option<String>,
    /// The path in `from`.
    pub source: Option<String>,
    /// Who may use it at the same time.
    pub sharing: CacheSharing,
    /// Permission bits of a new directory.
    pub mode: u32,
    /// Owner of a new directory.
    pub uid: u32,
    /// Group of a new directory.
    pub gid: u32,
    /// Writable unless `ro` was given.
    pub access: Access,
    /// `z` and `Z`.
    pub relabel: Option<Relabel>,
    /// `U`
    pub chown: bool,
}

/// `type=tmpfs`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TmpfsMount {
    /// The path in the container.
    pub target: String,
    /// The size in bytes.
    pub size: Option<u64>,
    /// The permission bits of its root.
    pub mode: Option<u32>,
    /// Whether the files at the target are copied in.
    pub copy_up: bool,
    /// Writable unless `ro` was given.
    pub access: Access,
}

/// `type=secret`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretMount {
    /// The name of the secret.
    pub id: String,
    /// The file it is put in; none when it goes into a variable only.
    pub target: Option<String>,
    /// The variable it is put in.
    pub env: Option<String>,
    /// Whether its absence is an error.
    pub required: bool,
    /// Permission bits of the file.
    pub mode: u32,
    /// Owner of the file.
    pub uid: u32,
    /// Group of the file.
    pub gid: u32,
}

/// `type=ssh`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SshMount {
    /// The name of the agent.
    pub id: String,
    /// The socket; none lets the builder number it.
    pub target: Option<String>,
    /// Whether its absence is an error.
    pub required: bool,
    /// Permission bits of the socket.
    pub mode: u32,
    /// Owner of the socket.
    pub uid: u32,
    /// Group of the socket.
    pub gid: u32,
}

/// Why the value of a `--mount` is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MountError {
    /// `type` is none of the five.
    Type(String),
    /// The type does not have this key.
    Option(String),
    /// The key needs a value.
    NoValue(String),
    /// The key takes no value.
    SurplusValue(String),
    /// The value of the key does not fit.
    Value {
        /// The key.
        key: String,
        /// The value.
        value: String,
    },
    /// There is no target.
    NoTarget,
    /// A secret with neither id nor target.
    NoSecret,
    /// The text is not a line of comma-separated values.
    Csv,
}

impl fmt::Display for MountError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MountError::Type(name) => write!(f, "invalid mount type {name:?}"),
            MountError::Option(key) => write!(f, "{key}: invalid mount option"),
            MountError::NoValue(key) => write!(f, "{key}: must provide an argument for option"),
            MountError::SurplusValue(key) => {
                write!(f, "{key}: must not provide an argument for option")
            }
            MountError::Value { key, value } => {
                write!(f, "unrecognized value {value:?} for field `{key}`")
            }
            MountError::NoTarget => f.write_str("must set volume destination"),
            MountError::NoSecret => f.write_str(
                "secret should have syntax \
                 id=id[,target=path,required=bool,mode=uint,uid=uint,gid=uint",
            ),
            MountError::Csv => {
                f.write_str("a quote in a mount value is not closed or out of place")
            }
        }
    }
}

impl std::error::Error for MountError {}

type Decoded<T> = Result<T, MountError>;

/// One `key` or `key=value`.
struct Field<'a> {
    key: String,
    value: Option<&'a str>,
}

impl<'a> Field<'a> {
    fn new(text: &'a str) -> Field<'a> {
        let (key, value) = match text.split_once('=') {
            Some((key, value)) => (key, Some(value)),
            None => (text, None),
        };
        // `z` and `Z` are two options, all other keys are read in any case.
        let key = if key == "Z" || key == "U" {
            key.to_owned()
        } else {
            key.to_lowercase()
        };
        Field { key, value }
    }

    fn text(&self) -> Decoded<String> {
        match self.value {
            Some(value) if !value.is_empty() => Ok(value.to_owned()),
            _ => Err(MountError::NoValue(self.key.clone())),
        }
    }

    fn bare(&self) -> Decoded<()> {
        match self.value {
            None => Ok(()),
            Some(_) => Err(MountError::SurplusValue(self.key.clone())),
        }
    }

    fn bad_value(&self) -> MountError {
        let value = self.value.unwrap_or_default().to_owned();
        MountError::Value {
            key: self.key.clone(),
            value,
        }
    }

    fn boolean(&self) -> Decoded<bool> {
        match self.value {
            None => Ok(true),
            Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Ok(true),
            Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Ok(false),
            Some(_) => Err(self.bad_value()),
        }
    }

    fn number(&self, radix: u32) -> Decoded<u32> {
        let text = self.text()?;
        let digits = text.chars().all(|c| c.is_digit(radix));
        let number = u32::from_str_radix(&text, radix).ok().filter(|_| digits);
        number.ok_or_else(|| self.bad_value())
    }

    fn mode(&self) -> Decoded<u32> {
        self.number(8)
    }

    fn id(&self) -> Decoded<u32> {
        self.number(10)
    }

    /// Reads `ro`, `readonly`, `rw` and `readwrite`; none for other keys.
    fn access(&self) -> Decoded<Option<Access>> {
        match self.key.as_str() {
            "ro" | "readonly" => {
                let read_only = self.boolean()?;
                Ok(Some(if read_only {
                    Access::ReadOnly
                } else {
                    Access::ReadWrite
                }))
            }
            "rw" | "readwrite" => self.bare().map(|()| Some(Access::ReadWrite)),
            _ => Ok(None),
        }
    }

    /// Reads `z`, `Z` and `relabel`; none for other keys.
    fn relabel(&self) -> Decoded<Option<Relabel>> {
        match (self.key.as_str(), self.value) {
            ("z", _) => self.bare().map(|()| Some(Relabel::Shared)),
            ("Z", _) => self.bare().map(|()| Some(Relabel::Private)),
            ("relabel", Some("shared")) => Ok(Some(Relabel::Shared)),
            ("relabel", Some("private")) => Ok(Some(Relabel::Private)),
            ("relabel", _) => Err(self.bad_value()),
            _ => Ok(None),
        }
    }

    fn unknown<T>(&self) -> Decoded<T> {
        Err(MountError::Option(self.key.clone()))
    }

    fn is_target(&self) -> bool {
        matches!(self.key.as_str(), "target" | "dst" | "destination")
    }

    fn is_source(&self) -> bool {
        matches!(self.key.as_str(), "source" | "src")
    }
}

impl RunMount {
    /// Decodes the value of `--mount`, variables expanded.
    ///
    /// # Errors
    /// Unknown types, keys and values, and a missing target.
    pub fn parse(text: &str) -> Result<RunMount, MountError> {
        let texts = csv(text)?;
        let mut fields = Vec::new();
        let mut kind = "bind".to_owned();
        for text in &texts {
            let field = Field::new(text);
            if field.key == "type" {
                kind = field.text()?;
            } else {
                fields.push(field);
            }
        }
        match kind.to_lowercase().as_str() {
            "bind" => bind(&fields).map(RunMount::Bind),
            "cache" => cache(&fields).map(RunMount::Cache),
            "tmpfs" => tmpfs(&fields).map(RunMount::Tmpfs),
            "secret" => secret(&fields).map(RunMount::Secret),
            "ssh" => ssh(&fields).map(RunMount::Ssh),
            _ => Err(MountError::Type(kind)),
        }
    }

    /// Returns the path in the container, if one was given.
    #[must_use]
    pub fn target(&self) -> Option<&str> {
        match self {
            RunMount::Bind(bind) => Some(&bind.target),
            RunMount::Cache(cache) => Some(&cache.target),
            RunMount::Tmpfs(tmpfs) => Some(&tmpfs.target),
            RunMount::Secret(secret) => secret.target.as_deref(),
            RunMount::Ssh(ssh) => ssh.target.as_deref(),
        }
    }

    /// Returns the stage, index, named context or image it takes files from.
    #[must_use]
    pub fn from(&self) -> Option<&str> {
        match self {
            RunMount::Bind(bind) => bind.from.as_deref(),
            RunMount::Cache(cache) => cache.from.as_deref(),
            RunMount::Tmpfs(_) | RunMount::Secret(_) | RunMount::Ssh(_) => None,
        }
    }
}

/// Returns the value of `from=` in a text whose variables are not expanded.
pub(crate) fn from_field(text: &str) -> Option<String> {
    let texts = csv(text).ok()?;
    let from = texts
        .iter()
        .rev()
        .map(|text| Field::new(text))
        .find(|field| field.key == "from")?;
    from.value
        .filter(|value| !value.is_empty())
        .map(str::to_owned)
}

/// Cuts one line of comma-separated values; a field that begins with a quote ends with one,
/// and two quotes inside stand for one.
fn csv(text: &str) -> Decoded<Vec<String>> {
    let mut fields = Vec::new();
    let mut rest = text;
    loop {
        let behind = if let Some(quoted) = rest.strip_prefix('"') {
            let mut field = String::new();
            let mut inner = quoted;
            loop {
                let at = inner.find('"').ok_or(MountError::Csv)?;
                field.push_str(&inner[..at]);
                inner = &inner[at + 1..];
                match inner.strip_prefix('"') {
                    Some(more) => {
                        field.push('"');
                        inner = more;
                    }
                    None => break,
                }
            }
            fields.push(field);
            inner
        } else {
            let end = rest.find(',').unwrap_or(rest.len());
            if rest[..end].contains('"') {
                return Err(MountError::Csv);
            }
            fields.push(rest[..end].to_owned());
            &rest[end..]
        };
        match behind.strip_prefix(',') {
            Some(more) => rest = more,
            None if behind.is_empty() => return Ok(fields),
            None => return Err(MountError::Csv),
        }
    }
}

fn bind(fields: &[Field<'_>]) -> Decoded<BindMount> {
    let mut mount = BindMount {
        target: String::new(),
        source: None,
        from: None,
        access: Access::ReadOnly,
        propagation: None,
        options: Vec::new(),
        relabel: None,
        chown: false,
    };
    for field in fields {
        if let Some(access) = field.access()? {
            mount.access = access;
            continue;
        }
        if let Some(relabel) = field.relabel()? {
            mount.relabel = Some(relabel);
            continue;
        }
        let option = match field.key.as_str() {
            "nosuid" => Some(BindOption::NoSuid),
            "nodev" => Some(BindOption::NoDev),
            "noexec" => Some(BindOption::NoExec),
            "no-dereference" => Some(BindOption::NoDereference),
            "bind-nonrecursive" => Some(BindOption::NonRecursive),
            _ => None,
        };
        if let Some(option) = option {
            if field.boolean()? {
                mount.options.push(option);
            }
            continue;
        }
        match field.key.as_str() {
            "from" => mount.from = Some(field.text()?),
            "u" | "U" => mount.chown = field.boolean()?,
            "bind-propagation" => mount.propagation = Some(propagation(field)?),
            "shared" | "rshared" | "private" | "rprivate" | "slave" | "rslave" => {
                field.bare()?;
                mount.propagation = Some(field.key.clone());
            }
            // A hint for other systems than Linux.
            "consistency" => drop(field.text()?),
            _ if field.is_target() => mount.target = field.text()?,
            _ if field.is_source() => mount.source = Some(field.text()?),
            _ => return field.unknown(),
        }
    }
    if mount.target.is_empty() {
        Err(MountError::NoTarget)
    } else {
        Ok(mount)
    }
}

fn propagation(field: &Field<'_>) -> Decoded<String> {
    let known = [
        "shared", "rshared", "private", "rprivate", "slave", "rslave",
    ];
    let word = field.text()?;
    if known.contains(&word.as_str()) {
        Ok(word)
    } else {
        Err(field.bad_value())
    }
}

fn cache(fields: &[Field<'_>]) -> Decoded<CacheMount> {
    let mut mount = CacheMount {
        target: String::new(),
        id: String::new(),
        from: None,
        source: None,
        sharing: CacheSharing::Shared,
        mode: CACHE_MODE,
        uid: 0,
        gid: 0,
        access: Access::ReadWrite,
        relabel: None,
        chown: false,
    };
    for field in fields {
        if let Some(access) = field.access()? {
            mount.access = access;
            continue;
        }
        if let Some(relabel) = field.relabel()? {
            mount.relabel = Some(relabel);
            continue;
        }
        match field.key.as_str() {
            "id" => mount.id = field.text()?,
            "from" => mount.from = Some(field.text()?),
            "sharing" => mount.sharing = sharing(field)?,
            "mode" => mount.mode = field.mode()?,
            "uid" => mount.uid = field.id()?,
            "gid" => mount.gid = field.id()?,
            "u" | "U" => mount.chown = field.boolean()?,
            _ if field.is_target() => mount.target = field.text()?,
            _ if field.is_source() => mount.source = Some(field.text()?),
            _ => return field.unknown(),
        }
    }
    if mount.target.is_empty() {
        return Err(MountError::NoTarget);
    }
    if mount.id.is_empty() {
        mount.id.clone_from(&mount.target);
    }
    Ok(mount)
}

fn sharing(field: &Field<'_>) -> Decoded<CacheSharing> {
    match field.text()?.as_str() {
        "shared" => Ok(CacheSharing::Shared),
        "locked" => Ok(CacheSharing::Locked),
        "private" => Ok(CacheSharing::Private),
        _ => Err(field.bad_value()),
    }
}

fn tmpfs(fields: &[Field<'_>]) -> Decoded<TmpfsMount> {
    let mut mount = TmpfsMount {
        target: String::new(),
        size: None,
        mode: None,
        copy_up: false,
        access: Access::ReadWrite,
    };
    for field in fields {
        if let Some(access) = field.access()? {
            mount.access = access;
            continue;
        }
        match field.key.as_str() {
            "tmpfs-size" | "size" => mount.size = Some(size(field)?),
            "tmpfs-mode" | "mode" => mount.mode = Some(field.mode()?),
            "tmpcopyup" => mount.copy_up = field.boolean()?,
            "notmpcopyup" => {
                field.bare()?;
                mount.copy_up = false;
            }
            _ if field.is_target() => mount.target = field.text()?,
            _ => return field.unknown(),
        }
    }
    if mount.target.is_empty() {
        Err(MountError::NoTarget)
    } else {
        Ok(mount)
    }
}

/// Reads bytes with an optional binary unit: `64m`, `1GiB`, `512kb`.
fn size(field: &Field<'_>) -> Decoded<u64> {
    let text = field.text()?.to_lowercase();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let shift = match text[digits..].trim_start() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return Err(field.bad_value()),
    };
    let number: Option<u64> = text[..digits].parse().ok();
    number
        .and_then(|count| count.checked_mul(1 << shift))
        .ok_or_else(|| field.bad_value())
}

fn secret(fields: &[Field<'_>]) -> Decoded<SecretMount> {
    let mut mount = SecretMount {
        id: String::new(),
        target: None,
        env: None,
        required: false,
        mode: SECRET_MODE,
        uid: 0,
        gid: 0,
    };
    for field in fields {
        match field.key.as_str() {
            "id" => mount.id = field.text()?,
            "env" => mount.env = Some(field.text()?),
            "required" => mount.required = field.boolean()?,
            "mode" => mount.mode = field.mode()?,
            "uid" => mount.uid = field.id()?,
            "gid" => mount.gid = field.id()?,
            _ if field.is_target() => mount.target = Some(field.text()?),
            _ => return field.unknown(),
        }
    }
    if mount.id.is_empty() {
        let target = mount.target.as_deref().unwrap_or_default();
        let name = target
            .trim_end_matches('/')
            .rsplit('/')
            .next()
            .unwrap_or_default();
        name.clone_into(&mut mount.id);
    }
    if mount.id.is_empty() {
        return Err(MountError::NoSecret);
    }
    if mount.target.is_none() && mount.env.is_none() {
        mount.target = Some(format!("{SECRETS}/{}", mount.id));
    }
    Ok(mount)
}

fn ssh(fields: &[Field<'_>]) -> Decoded<SshMount> {
    let mut mount = SshMount {
        id: "default".to_owned(),
        target: None,
        required: false,
        mode: SSH_MODE,
        uid: 0,
        gid: 0,
    };
    for field in fields {
        match field.key.as_str() {
            "id" => mount.id = field.text()?,
            "required" => mount.required = field.boolean()?,
            "mode" => mount.mode = field.mode()?,
            "uid" => mount.uid = field.id()?,
            "gid" => mount.gid = field.id()?,
            _ if field.is_target() => mount.target = Some(field.text()?),
            _ => return field.unknown(),
        }
    }
    Ok(mount)
}
