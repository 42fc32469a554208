//! From the host's configuration and the flags to the ways to registries.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use config::{
    AliasCache, AuthFiles, AuthFlag, BuildSources, CertsDirs, Files, HostCerts, RegistriesD,
    ShortNameMode, Use,
};
use model::{Reference, Secret};
use registry::{Credential, Http, HttpOptions, ProxySettings, TimeLimits, TlsFiles, TlsIdentity};
use transfer::{
    Alias, Asking, CompressionFormat, ConfiguredHosts, CopyOptions, HostError, NameRules,
    PolicySource, Registries, Retry, SignatureOptions, SignaturePlace, SignaturePlaces, Verify,
};

use super::{configuration, prompt, settings};
use crate::args::GlobalArgs;
use crate::args::access::AccessArgs;
use crate::failure::Failure;
use crate::ui::{Level, Ui};
use crate::world::World;

/// What the host's configuration and the flags about registries say of every copy. Opens no store and asks no registry.
pub fn copy_options(
    access: &AccessArgs,
    global: &GlobalArgs,
    world: &World,
    ui: &Ui,
) -> Result<CopyOptions, Failure> {
    let engine = &configuration::containers(world, ui)?.engine;
    let mut options = CopyOptions {
        temporary: settings::temporary(global, world, ui)?,
        registries: Some(Arc::new(registries(access, global, world, ui)?)),
        retry: Retry {
            times: engine.retry.value,
            delay: delay(&engine.retry_delay.value)?,
        },
        level: engine.compression_level.value,
        signatures: SignatureOptions {
            policy: Arc::new(policy(world)),
            places: Arc::new(Places::load(global, world, ui)?),
            ..SignatureOptions::unchecked()
        },
        ..CopyOptions::default()
    };
    if engine.image_parallel_copies.value > 0 {
        options.parallel = usize::try_from(engine.image_parallel_copies.value)?;
    }
    let format = CompressionFormat::parse(&engine.compression_format.value)
        .context("parsing compression_format from containers.conf")?;
    // The usual one leaves layers as they are; another one is a wish.
    if format != CompressionFormat::Gzip {
        options.compression = Some(format);
        options.force_compression = true;
    }
    for word in &engine.add_compression.value {
        let format = CompressionFormat::parse(word)
            .context("parsing add_compression from containers.conf")?;
        options.add_compression.push(format);
    }
    Ok(options)
}

fn delay(text: &str) -> anyhow::Result<Option<Duration>> {
    if text.is_empty() {
        return Ok(None);
    }
    let delay = containerfile::GoDuration::parse(text)
        .map_err(|error| anyhow::anyhow!("{error}"))
        .with_context(|| format!("parsing retry_delay {text:?} from containers.conf"))?;
    let delay = u64::try_from(delay.0).unwrap_or(0);
    Ok(Some(Duration::from_nanos(delay)))
}

/// The connections to registries. Nothing is opened before it is needed.
fn registries(
    access: &AccessArgs,
    global: &GlobalArgs,
    world: &World,
    ui: &Ui,
) -> Result<Registries, Failure> {
    let flag = match &access.authfile {
        Some(path) => AuthFlag::File(path.clone()),
        None => AuthFlag::Unset,
    };
    let credentials = auth_files(&flag, global, world, ui)?;
    credentials.check_flag()?;
    let hosts = ConfiguredHosts {
        registries: configuration::registries(global, world, ui)?.clone(),
        certificates: certificates(access.cert_dir.as_ref(), world),
        credentials,
        given: match &access.creds {
            Some(creds) => Some(given(creds, ui).context("building system context")?),
            None => None,
        },
        verify: verify(access.tls_verify),
        sources: build_sources(world)?,
    };
    let graph_root = settings::store_options(global, world, ui)?.graph_root;
    let told = ui.clone();
    let notices = move |notice: &registry::Notice| {
        let level = match notice.is_minor() {
            true => Level::Info,
            false => Level::Warning,
        };
        told.log(level, &notice.to_string());
    };
    let registries = Registries::new(http(world), hosts)
        .resuming(&transfer::memory_in(&graph_root.join("cooper")))
        .telling(Arc::new(notices));
    let registries = match blob_info_cache(global, world) {
        Some(directory) => registries.remembering(&directory, SystemTime::now()),
        None => registries,
    };
    if let Some(partials) = registries.partials()
        && let Err(error) = partials.reap(PARTIALS_KEPT, SystemTime::now())
    {
        ui.log(
            Level::Debug,
            &format!("removing old parts of downloads: {error}"),
        );
    }
    Ok(registries)
}

/// Where the Go tools keep their blob-info cache, whatever the store; none for a user without a home.
fn blob_info_cache(global: &GlobalArgs, world: &World) -> Option<PathBuf> {
    if let Some(directory) = &global.blob_info_cache {
        return Some(world.cwd.join(directory));
    }
    if world.uid == 0 {
        return Some(PathBuf::from("/var/lib/containers/cache"));
    }
    let data = world.var("XDG_DATA_HOME").map(PathBuf::from);
    let usual = || Some(PathBuf::from(world.var("HOME")?).join(".local/share"));
    Some(data.or_else(usual)?.join("containers/cache"))
}

/// How long parts of downloads that nobody goes on with are kept.
const PARTIALS_KEPT: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// The network as the environment describes it.
pub fn http(world: &World) -> Http {
    let either = |upper: &str, lower: &str| {
        let value = world.var(upper).or_else(|| world.var(lower));
        value.map(str::to_owned)
    };
    Http::new(HttpOptions {
        user_agent: crate::world::user_agent(),
        proxies: ProxySettings {
            // A web server passes on what a stranger sends as `Proxy:` under the name in capitals.
            http: match world.var("REQUEST_METHOD") {
                Some(_) => world.var("http_proxy").map(str::to_owned),
                None => either("HTTP_PROXY", "http_proxy"),
            },
            https: either("HTTPS_PROXY", "https_proxy"),
            no_proxy: either("NO_PROXY", "no_proxy"),
        },
        trust_file: world.var("SSL_CERT_FILE").map(PathBuf::from),
        trust_dir: world.var("SSL_CERT_DIR").map(PathBuf::from),
        limits: TimeLimits::default(),
    })
}

/// The files and helpers that have credentials.
pub fn auth_files(
    flag: &AuthFlag,
    global: &GlobalArgs,
    world: &World,
    ui: &Ui,
) -> Result<AuthFiles, Failure> {
    let helpers = configuration::registries(global, world, ui)?.credential_helpers();
    let roots = configuration::search_roots(world);
    let files = AuthFiles::find(&roots, flag, helpers, &world.cwd);
    for warning in &files.warnings {
        ui.warn(warning);
    }
    Ok(files)
}

/// Where certificates of registries are.
pub fn certificates(named: Option<&PathBuf>, world: &World) -> CertsDirs {
    match named {
        Some(dir) => CertsDirs::Named(world.cwd.join(dir)),
        None => CertsDirs::usual(&configuration::search_roots(world)),
    }
}

/// What is shown to a host, and which authorities are believed besides the usual ones.
pub fn tls_files(found: HostCerts) -> TlsFiles {
    let authorities = found.authorities.into_iter().map(|file| file.bytes);
    let identities = found.clients.into_iter().map(|pair| TlsIdentity {
        origin: pair.certificate.path.display().to_string(),
        certificate: pair.certificate.bytes,
        key: pair.key.bytes,
    });
    TlsFiles {
        authorities: authorities.collect(),
        identities: identities.collect(),
    }
}

/// What `--tls-verify` says.
pub fn verify(flag: Option<bool>) -> Verify {
    match flag {
        None => Verify::AsConfigured,
        Some(true) => Verify::Always,
        Some(false) => Verify::Never,
    }
}

/// Reads `USER[:PASSWORD]` and asks for what is missing.
fn given(creds: &Secret, ui: &Ui) -> anyhow::Result<Credential> {
    if creds.is_empty() {
        anyhow::bail!("credentials can't be empty");
    }
    let text = creds.expose();
    let (user, password) = text.split_once(':').unwrap_or((text, ""));
    let user = match user {
        "" => {
            ui.out("Username: ");
            prompt::line().context("reading user name")?
        }
        user => user.to_owned(),
    };
    let password = match password {
        "" => {
            let ask = || ui.out("Password: ");
            prompt::password(ask).context("could not read password from terminal")?
        }
        password => Secret::new(password),
    };
    Ok(Credential::Basic { user, password })
}

fn build_sources(world: &World) -> anyhow::Result<BuildSources> {
    match world.var("BUILD_REGISTRY_SOURCES") {
        Some(raw) => Ok(BuildSources::parse(raw)?),
        None => Ok(BuildSources::default()),
    }
}

/// The policy that images must meet, read when the first image needs it.
pub fn policy(world: &World) -> PolicySource {
    let roots = configuration::search_roots(world);
    match Files::find(&roots, "policy.json").main {
        Some(path) => PolicySource::file(path),
        None => {
            let dirs = [&roots.user, &roots.system, &roots.vendor];
            PolicySource::missing(dirs.map(|dir| dir.join("policy.json")).into())
        }
    }
}

/// Where signatures are, as `registries.d` says.
#[derive(Debug)]
struct Places {
    configured: RegistriesD,
    usual: String,
}

impl Places {
    fn load(global: &GlobalArgs, world: &World, ui: &Ui) -> Result<Self, Failure> {
        let roots = configuration::search_roots(world);
        let configured = registries_d(global, world)?;
        configuration::warn(&configured.warnings, ui);
        Ok(Self {
            configured,
            usual: RegistriesD::default_lookaside(&roots),
        })
    }
}

/// `registries.d`. The flag's name promises another directory; it is the Go tools' accident.
pub fn registries_d(global: &GlobalArgs, world: &World) -> Result<RegistriesD, Failure> {
    let named = global.registries_conf_dir.as_ref();
    let named = named.map(|dir| world.cwd.join(dir));
    let roots = configuration::search_roots(world);
    Ok(RegistriesD::load(&roots, named.as_deref())?)
}

impl SignaturePlaces for Places {
    fn place(&self, name: &Reference) -> Result<SignaturePlace, HostError> {
        let url = |purpose| match self.configured.lookaside(name, purpose) {
            Some(url) => url.value.clone(),
            None => self.usual.clone(),
        };
        Ok(SignaturePlace {
            lookaside: Some(url(Use::Pull)),
            staging: Some(url(Use::Push)),
            attachments: self.configured.uses_attachments(name),
        })
    }
}

/// What names without a registry mean.
pub fn name_rules(global: &GlobalArgs, world: &World, ui: &Ui) -> Result<NameRules, Failure> {
    let conf = configuration::registries(global, world, ui)?;
    let (chosen, warnings) = alias_cache(global, world).read()?;
    configuration::warn(&warnings, ui);
    let mut all = conf.aliases().clone();
    all.extend(chosen);
    let aliases = all.into_iter().filter_map(|(name, alias)| {
        let origin = match alias.place {
            config::Place::File { path, .. } => path,
            _ => PathBuf::new(),
        };
        let target = alias.value?;
        Some((name, Alias { target, origin }))
    });
    Ok(NameRules {
        aliases: aliases.collect(),
        search: conf.search().to_vec(),
        config_file: conf.search_file().map(PathBuf::from),
        asking: match conf.short_name_mode() {
            ShortNameMode::Enforcing => Asking::Enforced,
            ShortNameMode::Permissive => Asking::Permitted,
            ShortNameMode::Disabled => Asking::Disabled,
        },
    })
}

/// Where choices among registries are kept.
pub fn alias_cache(global: &GlobalArgs, world: &World) -> AliasCache {
    match &global.short_name_alias_conf {
        Some(path) => AliasCache::at(world.cwd.join(path)),
        None => AliasCache::usual(&configuration::search_roots(world)),
    }
}
