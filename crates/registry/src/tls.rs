//! TLS for registries: the host's roots and those of certs.d, client certificates, and the one exception that Go makes.
//!
//! Decides nothing about when TLS may be left out; that is the endpoint's [`Security`](crate::Security).

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};

use crate::Security;

/// What certs.d holds for one host, as read.
#[derive(Clone, Debug, Default)]
pub struct TlsFiles {
    /// Certificates of authorities (PEM), trusted besides the host's own. What cannot be read is ignored.
    pub authorities: Vec<Vec<u8>>,
    /// Client certificates with their keys.
    pub identities: Vec<TlsIdentity>,
}

/// A client certificate with its key.
#[derive(Clone)]
pub struct TlsIdentity {
    /// Where it came from, for messages.
    pub origin: String,
    /// The chain of certificates (PEM).
    pub certificate: Vec<u8>,
    /// The private key (PEM, not encrypted).
    pub key: Vec<u8>,
}

impl fmt::Debug for TlsIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsIdentity")
            .field("origin", &self.origin)
            .field("key", &"***")
            .finish_non_exhaustive()
    }
}

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A client certificate cannot be read.
    #[error("cannot read the client certificate {origin}")]
    Certificate {
        /// Where it came from.
        origin: String,
        /// Why.
        source: rustls::pki_types::pem::Error,
    },
    /// A client key cannot be read.
    #[error("cannot read the key of the client certificate {origin}")]
    Key {
        /// Where it came from.
        origin: String,
        /// Why.
        source: rustls::pki_types::pem::Error,
    },
    /// A client certificate and its key cannot be used, or not together.
    #[error("cannot use the client certificate {origin}")]
    Identity {
        /// Where it came from.
        origin: String,
        /// Why.
        source: Error,
    },
    /// The TLS library refuses its settings.
    #[error("cannot set up TLS")]
    Config(#[source] Error),
    /// The HTTP library refuses its settings.
    #[error("cannot set up the HTTP client")]
    Client(#[source] reqwest::Error),
}

/// Where the host keeps the certificates of the authorities that it trusts; read once, when first needed.
#[derive(Debug, Default)]
pub(crate) struct HostRoots {
    file: Option<PathBuf>,
    dir: Option<PathBuf>,
    loaded: OnceLock<Arc<RootCertStore>>,
}

impl HostRoots {
    pub fn new(file: Option<PathBuf>, dir: Option<PathBuf>) -> Self {
        Self {
            file,
            dir,
            loaded: OnceLock::new(),
        }
    }

    fn get(&self) -> Arc<RootCertStore> {
        let load = || {
            let found = if self.file.is_some() || self.dir.is_some() {
                rustls_native_certs::load_certs_from_paths(
                    self.file.as_deref(),
                    self.dir.as_deref(),
                )
            } else {
                rustls_native_certs::load_native_certs()
            };
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(found.certs);
            Arc::new(roots)
        };
        Arc::clone(self.loaded.get_or_init(load))
    }
}

pub(crate) fn client_config(
    security: Security,
    files: &TlsFiles,
    host_roots: &HostRoots,
) -> Result<ClientConfig, TlsError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let accepted = match security {
        Security::Verified => Accepted::roots_or_pinned(files, host_roots, &provider)?,
        Security::Unverified => Accepted::Anyone,
    };
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Config)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Verifier {
            accepted,
            provider: Arc::clone(&provider),
        }));
    let mut config = if files.identities.is_empty() {
        builder.with_no_client_auth()
    } else {
        let read = |identity| read_identity(identity, &provider);
        let keys = files
            .identities
            .iter()
            .map(read)
            .collect::<Result<_, _>>()?;
        builder.with_client_cert_resolver(Arc::new(Identities(keys)))
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn read_identity(
    identity: &TlsIdentity,
    provider: &CryptoProvider,
) -> Result<Arc<CertifiedKey>, TlsError> {
    let origin = || identity.origin.clone();
    let chain = CertificateDer::pem_slice_iter(&identity.certificate)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|source| TlsError::Certificate {
            origin: origin(),
            source,
        })?;
    let key = PrivateKeyDer::from_pem_slice(&identity.key).map_err(|source| TlsError::Key {
        origin: origin(),
        source,
    })?;
    CertifiedKey::from_der(chain, key, provider)
        .map(Arc::new)
        .map_err(|source| TlsError::Identity {
            origin: origin(),
            source,
        })
}

/// Offers the first identity that the server can use.
#[derive(Debug)]
struct Identities(Vec<Arc<CertifiedKey>>);

impl rustls::client::ResolvesClientCert for Identities {
    fn resolve(&self, _roots: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0
            .iter()
            .find(|identity| identity.key.choose_scheme(schemes).is_some())
            .cloned()
    }

    fn has_certs(&self) -> bool {
        !self.0.is_empty()
    }
}

/// Which servers are accepted.
#[derive(Debug)]
enum Accepted {
    /// Those whose certificate chains up to a root; and, as Go and OpenSSL do, a self-signed certificate of an authority
    /// that serves itself and is itself one of the trusted files.
    RootsOrPinned {
        // None: there is no root at all, so that nothing is trusted.
        roots: Option<Arc<WebPkiServerVerifier>>,
        pinned: Vec<CertificateDer<'static>>,
    },
    Anyone,
}

impl Accepted {
    fn roots_or_pinned(
        files: &TlsFiles,
        host_roots: &HostRoots,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, TlsError> {
        let pinned: Vec<CertificateDer<'static>> = files
            .authorities
            .iter()
            .flat_map(|pem| CertificateDer::pem_slice_iter(pem))
            .filter_map(Result::ok)
            .collect();
        let mut store = RootCertStore::clone(&host_roots.get());
        store.add_parsable_certificates(pinned.iter().cloned());
        let roots = if store.is_empty() {
            None
        } else {
            let built =
                WebPkiServerVerifier::builder_with_provider(Arc::new(store), Arc::clone(provider))
                    .build();
            Some(built.map_err(|error| TlsError::Config(Error::General(error.to_string())))?)
        };
        Ok(Self::RootsOrPinned { roots, pinned })
    }
}

/// Verifies servers. Whoever is accepted must have signed the handshake with the certificate's key.
#[derive(Debug)]
struct Verifier {
    accepted: Accepted,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let (roots, pinned) = match &self.accepted {
            Accepted::Anyone => return Ok(ServerCertVerified::assertion()),
            Accepted::RootsOrPinned { roots, pinned } => (roots, pinned),
        };
        let Some(roots) = roots else {
            return Err(Error::InvalidCertificate(CertificateError::UnknownIssuer));
        };
        let verdict =
            roots.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        match verdict {
            // The dates were looked at before this error can arise, the name was not.
            Err(error) if is_authority_as_server(&error) && pinned.contains(end_entity) => {
                let certificate = rustls::server::ParsedCertificate::try_from(end_entity)?;
                rustls::client::verify_server_name(&certificate, server_name)?;
                Ok(ServerCertVerified::assertion())
            }
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

fn is_authority_as_server(error: &Error) -> bool {
    let Error::InvalidCertificate(CertificateError::Other(other)) = error else {
        return false;
    };
    matches!(
        other.0.downcast_ref::<webpki::Error>(),
        Some(webpki::Error::CaUsedAsEndEntity)
    )
}
