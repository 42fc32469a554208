//! `policy.json`: which requirements an image of a given transport and scope has to meet.
//!
//! The file is read strictly, so that a slip of the pen makes nothing more permissive. Reading it finds no key files;
//! they are read when a signature is checked.

use std::collections::BTreeMap;
use std::path::PathBuf;

use model::ReferenceError;

use crate::identity::IdentityRule;
use crate::strict_json::{Fields, Json, JsonError};
use crate::subject::{Subject, is_scope};

/// The most bytes that a policy may have.
pub const POLICY_MAX: usize = 4 << 20;

/// Why a policy is refused. The texts are those of Buildah.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// The file is larger than [`POLICY_MAX`].
    #[error("the policy has {size} bytes, more than {POLICY_MAX}")]
    TooLarge {
        /// Its size in bytes.
        size: usize,
    },
    /// The form is not the expected one.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// There is no `default`.
    #[error("Default policy is missing")]
    NoDefault,
    /// A list of requirements is empty.
    #[error("List of verification policy requirements must not be empty")]
    Empty,
    /// A requirement's `type` is none.
    #[error("Unknown policy requirement type {kind:?}")]
    UnknownRequirement {
        /// The type.
        kind: String,
    },
    /// A `signedIdentity`'s `type` is none.
    #[error("Unknown policy reference match type {kind:?}")]
    UnknownMatch {
        /// The type.
        kind: String,
    },
    /// A `keyType` that nobody knows.
    #[error("Unrecognized keyType value {value:?}")]
    KeyType {
        /// The value.
        value: String,
    },
    /// Too many or too few places for something that has to come from exactly one, or something is missing.
    #[error("{0}")]
    Incomplete(&'static str),
    /// A list of keys is empty.
    #[error("{key:?} contains no entries")]
    NoEntries {
        /// The list's name.
        key: &'static str,
    },
    /// A name in a rule is not well formed.
    #[error("Invalid format of {key} {name:?}")]
    Name {
        /// Which.
        key: &'static str,
        /// The name.
        name: String,
        /// What the grammar says.
        source: ReferenceError,
    },
    /// A name that has to be exact is not.
    #[error("dockerReference {name:?} contains neither a tag nor digest")]
    NameOnly {
        /// The name.
        name: String,
    },
    /// The prefix of a remapping can begin no name.
    #[error("prefix {prefix:?} is not valid")]
    Prefix {
        /// The prefix.
        prefix: String,
    },
}

type Result<T> = std::result::Result<T, PolicyError>;

/// Where a key or certificate comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Material {
    /// A file.
    Path(PathBuf),
    /// The policy itself.
    Data(Vec<u8>),
}

/// The kind of keys of a `signedBy` requirement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyType {
    /// A keyring of OpenPGP.
    GpgKeys,
    /// One of the kinds that have a name, but that no tool implements.
    Unimplemented(&'static str),
}

/// A requirement for a simple signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedBy {
    /// The kind of keys.
    pub key_type: KeyType,
    /// The keyrings, of which any key will do.
    pub keys: Vec<Material>,
    /// Which name the signature must be for.
    pub identity: IdentityRule,
}

/// Whom Fulcio must have certified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fulcio {
    /// The certificates of its authorities.
    pub ca: Material,
    /// Who must have identified the signer.
    pub oidc_issuer: String,
    /// The signer.
    pub subject_email: String,
}

/// Whom a certificate authority must have certified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pki {
    /// The certificates of its roots.
    pub roots: Material,
    /// Certificates between the roots and the signer's.
    pub intermediates: Option<Material>,
    /// The signer's address.
    pub subject_email: Option<String>,
    /// The signer's host.
    pub subject_hostname: Option<String>,
}

/// How the key of a sigstore signature is known to be good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SigstoreTrust {
    /// It is one of these.
    Keys(Vec<Material>),
    /// Fulcio says so.
    Fulcio(Fulcio),
    /// A certificate authority says so.
    Pki(Pki),
}

/// A requirement for a sigstore signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SigstoreSigned {
    /// The keys.
    pub trust: SigstoreTrust,
    /// The keys of the logs of which one must have recorded the signature; none when no record is asked for.
    pub rekor: Vec<Material>,
    /// Which name the signature must be for.
    pub identity: IdentityRule,
}

/// What an image has to meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Requirement {
    /// Nothing.
    InsecureAcceptAnything,
    /// No image can.
    Reject,
    /// A simple signature.
    SignedBy(SignedBy),
    /// Has a name, but no tool implements it: no image can.
    SignedBaseLayer,
    /// A sigstore signature.
    SigstoreSigned(Box<SigstoreSigned>),
}

impl Requirement {
    /// Returns whether the image's signatures have to be read.
    pub fn needs_signatures(&self) -> bool {
        matches!(self, Self::SignedBy(_) | Self::SigstoreSigned(_))
    }
}

/// A whole policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    default: Vec<Requirement>,
    transports: BTreeMap<String, BTreeMap<String, Vec<Requirement>>>,
}

impl Policy {
    /// Parses the file's content.
    ///
    /// # Errors
    /// See [`PolicyError`].
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        if bytes.len() > POLICY_MAX {
            return Err(PolicyError::TooLarge { size: bytes.len() });
        }
        let mut fields = Json::parse(bytes)?.fields(&["default", "transports"])?;
        let mut transports = BTreeMap::new();
        if let Some(all) = fields.take("transports") {
            for (transport, scopes) in all.entries()? {
                let mut known = BTreeMap::new();
                for (scope, list) in scopes.entries()? {
                    if !scope.is_empty() && !is_scope(&transport, &scope) {
                        return Err(JsonError::Unknown { key: scope }.into());
                    }
                    let list = requirements(&scope, list)?;
                    known.insert(scope, list);
                }
                transports.insert(transport, known);
            }
        }
        let default = fields.take("default").ok_or(PolicyError::NoDefault)?;
        Ok(Self {
            default: requirements("default", default)?,
            transports,
        })
    }

    /// Returns a policy under which every image of every transport has to meet `requirement` alone.
    pub fn uniform(requirement: Requirement) -> Self {
        Self {
            default: vec![requirement],
            transports: BTreeMap::new(),
        }
    }

    /// Returns the requirements for an image: those of its most specific scope alone, all of which it has to meet.
    pub fn requirements(&self, image: &Subject) -> &[Requirement] {
        let Some(scopes) = self.transports.get(image.transport()) else {
            return &self.default;
        };
        image
            .scopes()
            .iter()
            .find_map(|scope| scopes.get(scope))
            .or_else(|| scopes.get(""))
            .unwrap_or(&self.default)
    }
}

fn requirements(key: &str, list: Json) -> Result<Vec<Requirement>> {
    let list = list.array(key)?;
    if list.is_empty() {
        return Err(PolicyError::Empty);
    }
    list.into_iter().map(requirement).collect()
}

/// Returns the `type` of an object.
pub(crate) fn kind_of(json: &Json) -> Result<String> {
    let Json::Object(entries) = json else {
        return Err(JsonError::NotObject { found: json.kind() }.into());
    };
    match entries.iter().find(|(key, _)| key == "type") {
        Some((key, kind)) => Ok(kind.clone().string(key)?),
        None => Ok(String::new()),
    }
}

fn requirement(json: Json) -> Result<Requirement> {
    let kind = kind_of(&json)?;
    match &*kind {
        "insecureAcceptAnything" => {
            json.fields(&["type"])?;
            Ok(Requirement::InsecureAcceptAnything)
        }
        "reject" => {
            json.fields(&["type"])?;
            Ok(Requirement::Reject)
        }
        "signedBy" => signed_by(json).map(Requirement::SignedBy),
        "signedBaseLayer" => {
            let key = "baseLayerIdentity";
            IdentityRule::parse(json.fields(&["type", key])?.require(key)?)?;
            Ok(Requirement::SignedBaseLayer)
        }
        "sigstoreSigned" => {
            sigstore_signed(json).map(|signed| Requirement::SigstoreSigned(Box::new(signed)))
        }
        _ => Err(PolicyError::UnknownRequirement { kind }),
    }
}

fn identity(fields: &mut Fields) -> Result<IdentityRule> {
    match fields.take("signedIdentity") {
        None => Ok(IdentityRule::default()),
        Some(rule) => IdentityRule::parse(rule),
    }
}

/// Collects what the given keys name; more than one of them is an error with the given text.
fn one_source(
    fields: &mut Fields,
    keys: &MaterialKeys,
    several: &'static str,
) -> Result<Option<Vec<Material>>> {
    let mut sources = Vec::new();
    let path = |path: String| Material::Path(path.into());
    if let Some(one) = fields.string(keys.path)?.filter(|text| !text.is_empty()) {
        sources.push(vec![path(one)]);
    }
    if let Some(one) = fields.base64(keys.data)? {
        sources.push(vec![Material::Data(one)]);
    }
    let entries = |key, list: Vec<Material>| match list.is_empty() {
        true => Err(PolicyError::NoEntries { key }),
        false => Ok(list),
    };
    if let Some(key) = keys.paths
        && let Some(list) = fields.strings(key)?
    {
        sources.push(entries(key, list.into_iter().map(path).collect())?);
    }
    if let Some(key) = keys.datas
        && let Some(list) = fields.base64s(key)?
    {
        sources.push(entries(
            key,
            list.into_iter().map(Material::Data).collect(),
        )?);
    }
    match sources.len() {
        0 | 1 => Ok(sources.pop()),
        _ => Err(PolicyError::Incomplete(several)),
    }
}

struct MaterialKeys {
    path: &'static str,
    data: &'static str,
    paths: Option<&'static str>,
    datas: Option<&'static str>,
}

fn signed_by(json: Json) -> Result<SignedBy> {
    const KEYS: MaterialKeys = MaterialKeys {
        path: "keyPath",
        data: "keyData",
        paths: Some("keyPaths"),
        datas: None,
    };
    let mut fields = json.fields(&[
        "type",
        "keyType",
        "keyPath",
        "keyPaths",
        "keyData",
        "signedIdentity",
    ])?;
    let value = fields.string("keyType")?.unwrap_or_default();
    let key_type = match &*value {
        "GPGKeys" => KeyType::GpgKeys,
        other => ["signedByGPGKeys", "X509Certificates", "signedByX509CAs"]
            .into_iter()
            .find(|known| *known == other)
            .map(KeyType::Unimplemented)
            .ok_or(PolicyError::KeyType { value })?,
    };
    let identity = identity(&mut fields)?;
    let several =
        "Exactly one of keyPath, keyPaths and keyData must be specified, more than one present";
    let none =
        "Exactly one of keyPath, keyPaths and keyData must be specified, none of them present";
    let keys = one_source(&mut fields, &KEYS, several)?.ok_or(PolicyError::Incomplete(none))?;
    Ok(SignedBy {
        key_type,
        keys,
        identity,
    })
}

fn sigstore_signed(json: Json) -> Result<SigstoreSigned> {
    const KEYS: MaterialKeys = MaterialKeys {
        path: "keyPath",
        data: "keyData",
        paths: Some("keyPaths"),
        datas: Some("keyDatas"),
    };
    const REKOR: MaterialKeys = MaterialKeys {
        path: "rekorPublicKeyPath",
        data: "rekorPublicKeyData",
        paths: Some("rekorPublicKeyPaths"),
        datas: Some("rekorPublicKeyDatas"),
    };
    let exactly = PolicyError::Incomplete(
        "exactly one of keyPath, keyPaths, keyData, keyDatas, fulcio, and pki must be specified",
    );
    let mut fields = json.fields(&[
        "type",
        "keyPath",
        "keyPaths",
        "keyData",
        "keyDatas",
        "fulcio",
        "pki",
        "rekorPublicKeyPath",
        "rekorPublicKeyPaths",
        "rekorPublicKeyData",
        "rekorPublicKeyDatas",
        "signedIdentity",
    ])?;
    let identity = identity(&mut fields)?;
    let several =
        "exactly one of keyPath, keyPaths, keyData, keyDatas, fulcio, and pki must be specified";
    let keys = one_source(&mut fields, &KEYS, several)?;
    let fulcio = fields.take("fulcio").map(fulcio).transpose()?;
    let pki = fields.take("pki").map(pki).transpose()?;
    let trust = match (keys, fulcio, pki) {
        (Some(keys), None, None) => SigstoreTrust::Keys(keys),
        (None, Some(fulcio), None) => SigstoreTrust::Fulcio(fulcio),
        (None, None, Some(pki)) => SigstoreTrust::Pki(pki),
        _ => return Err(exactly),
    };
    let several = "at most one of rekorPublicKeyPath, rekorPublicKeyPaths, rekorPublicKeyData and rekorPublicKeyDatas can be used simultaneously";
    let rekor = one_source(&mut fields, &REKOR, several)?.unwrap_or_default();
    match trust {
        SigstoreTrust::Fulcio(_) if rekor.is_empty() => Err(PolicyError::Incomplete(
            "At least one of rekorPublicKeyPath, rekorPublicKeyPaths, rekorPublicKeyData and rekorPublicKeyDatas must be specified if fulcio is used",
        )),
        // Accepted silently, it would promise a check that is not made.
        SigstoreTrust::Pki(_) if !rekor.is_empty() => Err(PolicyError::Incomplete(
            "rekorPublicKeyPath, rekorPublicKeyPaths, rekorPublicKeyData and rekorPublicKeyDatas are not supported with pki",
        )),
        trust => Ok(SigstoreSigned {
            trust,
            rekor,
            identity,
        }),
    }
}

fn single(keys: Option<Vec<Material>>) -> Option<Material> {
    keys.and_then(|mut keys| keys.pop())
}

fn nonempty(fields: &mut Fields, key: &str) -> Result<Option<String>> {
    Ok(fields.string(key)?.filter(|text| !text.is_empty()))
}

fn fulcio(json: Json) -> Result<Fulcio> {
    const KEYS: MaterialKeys = MaterialKeys {
        path: "caPath",
        data: "caData",
        paths: None,
        datas: None,
    };
    let mut fields = json.fields(&["caPath", "caData", "oidcIssuer", "subjectEmail"])?;
    let several = "caPath and caData cannot be used simultaneously";
    let none = "At least one of caPath and caData must be specified";
    let ca =
        single(one_source(&mut fields, &KEYS, several)?).ok_or(PolicyError::Incomplete(none))?;
    let oidc_issuer = nonempty(&mut fields, "oidcIssuer")?
        .ok_or(PolicyError::Incomplete("oidcIssuer not specified"))?;
    let subject_email = nonempty(&mut fields, "subjectEmail")?
        .ok_or(PolicyError::Incomplete("subjectEmail not specified"))?;
    Ok(Fulcio {
        ca,
        oidc_issuer,
        subject_email,
    })
}

fn pki(json: Json) -> Result<Pki> {
    const ROOTS: MaterialKeys = MaterialKeys {
        path: "caRootsPath",
        data: "caRootsData",
        paths: None,
        datas: None,
    };
    const BETWEEN: MaterialKeys = MaterialKeys {
        path: "caIntermediatesPath",
        data: "caIntermediatesData",
        paths: None,
        datas: None,
    };
    let mut fields = json.fields(&[
        "caRootsPath",
        "caRootsData",
        "caIntermediatesPath",
        "caIntermediatesData",
        "subjectEmail",
        "subjectHostname",
    ])?;
    let several = "caRootsPath and caRootsData cannot be used simultaneously";
    let none = "At least one of caRootsPath and caRootsData must be specified";
    let roots =
        single(one_source(&mut fields, &ROOTS, several)?).ok_or(PolicyError::Incomplete(none))?;
    let several = "caIntermediatesPath and caIntermediatesData cannot be used simultaneously";
    let intermediates = single(one_source(&mut fields, &BETWEEN, several)?);
    let subject_email = nonempty(&mut fields, "subjectEmail")?;
    let subject_hostname = nonempty(&mut fields, "subjectHostname")?;
    if subject_email.is_none() && subject_hostname.is_none() {
        return Err(PolicyError::Incomplete(
            "At least one of subjectEmail, subjectHostname must be specified",
        ));
    }
    Ok(Pki {
        roots,
        intermediates,
        subject_email,
        subject_hostname,
    })
}
