//! JSON Web Tokens ([RFC 7519](https://www.rfc-editor.org/rfc/rfc7519)) as tickets.

use std::{
    collections::BTreeMap,
    fmt,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use jsonwebtoken::{
    DecodingKey, EncodingKey, Header, Validation,
    crypto::{CryptoProvider, rust_crypto},
    errors,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{AccessTicket, Rejection, TicketValidator, Validity};
use crate::{discovery::Entry, id::PeerId, rt};

/// What tickets are called that no other class was given.
const CLASS: &str = "jwt";
/// By how much clocks may differ, unless it was said.
const LEEWAY: Duration = Duration::from_secs(5);

/// How a token is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Algorithm {
    /// HMAC with SHA-256: a secret that all share who check tickets, any of whom could issue some too.
    Hs256,
    /// HMAC with SHA-384.
    Hs384,
    /// HMAC with SHA-512.
    Hs512,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// ECDSA on P-384 with SHA-384.
    Es384,
    /// Ed25519.
    EdDsa,
    /// RSA, PKCS#1 v1.5, with SHA-256.
    Rs256,
    /// RSA, PKCS#1 v1.5, with SHA-384.
    Rs384,
    /// RSA, PKCS#1 v1.5, with SHA-512.
    Rs512,
    /// RSA, PSS, with SHA-256.
    Ps256,
    /// RSA, PSS, with SHA-384.
    Ps384,
    /// RSA, PSS, with SHA-512.
    Ps512,
}

impl Algorithm {
    fn get(self) -> jsonwebtoken::Algorithm {
        match self {
            Self::Hs256 => jsonwebtoken::Algorithm::HS256,
            Self::Hs384 => jsonwebtoken::Algorithm::HS384,
            Self::Hs512 => jsonwebtoken::Algorithm::HS512,
            Self::Es256 => jsonwebtoken::Algorithm::ES256,
            Self::Es384 => jsonwebtoken::Algorithm::ES384,
            Self::EdDsa => jsonwebtoken::Algorithm::EdDSA,
            Self::Rs256 => jsonwebtoken::Algorithm::RS256,
            Self::Rs384 => jsonwebtoken::Algorithm::RS384,
            Self::Rs512 => jsonwebtoken::Algorithm::RS512,
            Self::Ps256 => jsonwebtoken::Algorithm::PS256,
            Self::Ps384 => jsonwebtoken::Algorithm::PS384,
            Self::Ps512 => jsonwebtoken::Algorithm::PS512,
        }
    }

    /// What it takes for a key, for people.
    fn takes(self) -> &'static str {
        match self.family() {
            Family::Secret => "a secret",
            Family::Ec | Family::Ed | Family::Rsa => "a key in PEM",
        }
    }

    /// Which kind of key it takes.
    fn family(self) -> Family {
        match self {
            Self::Hs256 | Self::Hs384 | Self::Hs512 => Family::Secret,
            Self::Es256 | Self::Es384 => Family::Ec,
            Self::EdDsa => Family::Ed,
            Self::Rs256 | Self::Rs384 | Self::Rs512 | Self::Ps256 | Self::Ps384 | Self::Ps512 => {
                Family::Rsa
            }
        }
    }
}

enum Family {
    Secret,
    Ec,
    Ed,
    Rsa,
}

/// Why a key cannot be used, or a token not be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JwtError {
    /// The algorithm takes a key of another kind: the HMAC ones a secret, all others a key in PEM.
    #[error("{:?} takes {}", .0, .0.takes())]
    Kind(Algorithm),
    /// The key cannot be read; the text says why.
    #[error("the key cannot be used: {0}")]
    Key(String),
    /// The token cannot be signed; the text says why.
    #[error("the token cannot be signed: {0}")]
    Signing(String),
}

/// Checks tickets that are JSON Web Tokens.
///
/// A token has to be signed by the key; its claim `sub` has to be the holder's [`PeerId`], as it is printed: a token
/// is seen by the whole network, and only so nobody can use another's. It has to say when it ends (`exp`), unless
/// [`unlimited`](Self::unlimited) says otherwise, and begins with `nbf` if it says so. What else is asked for
/// is said with [`issuer`](Self::issuer), [`audience`](Self::audience) and [`claim`](Self::claim).
#[derive(Clone)]
pub struct Jwt {
    class: String,
    keys: Vec<(jsonwebtoken::Algorithm, DecodingKey)>,
    issuer: Option<String>,
    audience: Option<String>,
    claims: BTreeMap<String, Value>,
    leeway: Duration,
    unlimited: bool,
}

/// What tickets are looked at for.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Claims {
    #[serde(default)]
    sub: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    exp: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    nbf: Option<f64>,
    #[serde(flatten)]
    more: BTreeMap<String, Value>,
}

impl Jwt {
    /// Checks tokens that are signed with a secret.
    ///
    /// # Errors
    /// When the secret is empty, or the algorithm takes no secret.
    pub fn secret(algorithm: Algorithm, secret: impl AsRef<[u8]>) -> Result<Self, JwtError> {
        let Family::Secret = algorithm.family() else {
            return Err(JwtError::Kind(algorithm));
        };
        let key = DecodingKey::from_secret(not_empty(secret.as_ref())?).map_err(unusable)?;
        Ok(Self::new(algorithm, key))
    }

    /// Checks tokens that are signed with the private key to this public key, in PEM.
    ///
    /// # Errors
    /// When the key is none of the algorithm's.
    pub fn public_key(algorithm: Algorithm, pem: impl AsRef<[u8]>) -> Result<Self, JwtError> {
        let pem = pem.as_ref();
        let key = match algorithm.family() {
            Family::Secret => return Err(JwtError::Kind(algorithm)),
            Family::Ec => DecodingKey::from_ec_pem(pem),
            Family::Ed => DecodingKey::from_ed_pem(pem),
            Family::Rsa => DecodingKey::from_rsa_pem(pem),
        };
        Ok(Self::new(algorithm, key.map_err(unusable)?))
    }

    fn new(algorithm: Algorithm, key: DecodingKey) -> Self {
        install_provider();
        Self {
            class: CLASS.into(),
            keys: vec![(algorithm.get(), key)],
            issuer: None,
            audience: None,
            claims: BTreeMap::new(),
            leeway: LEEWAY,
            unlimited: false,
        }
    }

    /// The class of the tickets. Default `jwt`.
    pub fn class(mut self, class: impl Into<String>) -> Self {
        self.class = class.into();
        self
    }

    /// Accepts tokens that are signed with the key of `other` too, while keys are replaced. Nothing else of it counts.
    pub fn or_key_of(mut self, other: Self) -> Self {
        self.keys.extend(other.keys);
        self
    }

    /// Asks for this issuer, the claim `iss`. Default: any.
    pub fn issuer(mut self, issuer: impl Into<String>) -> Self {
        self.issuer = Some(issuer.into());
        self
    }

    /// Asks for a token that was made for this audience, by the claim `aud`. Default: for one that names none.
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.audience = Some(audience.into());
        self
    }

    /// Asks for a claim of this value, such as `("role", "trader")`. Several add up.
    pub fn claim(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.claims.insert(name.into(), value.into());
        self
    }

    /// By how much the clocks of issuer and checkers may differ. Default 5 s.
    pub fn leeway(mut self, leeway: Duration) -> Self {
        self.leeway = leeway;
        self
    }

    /// Accepts tokens that have no end. Default: they are rejected, as they can never be taken back.
    pub fn unlimited(mut self) -> Self {
        self.unlimited = true;
        self
    }

    /// What the token says, if it is signed with one of the keys.
    fn read(&self, token: &[u8], holder: PeerId) -> Result<Claims, Rejection> {
        let mut why = None;
        for (algorithm, key) in &self.keys {
            match jsonwebtoken::decode(token, key, &self.validation(*algorithm, holder)) {
                Ok(token) => return Ok(token.claims),
                Err(error) => why = Some(error),
            }
        }
        let why = why.map_or_else(|| "it has no key".into(), |error| reason(&error));
        Err(Rejection::Invalid(why))
    }

    /// Times are looked at here: the library knows but the clock of this machine.
    fn validation(&self, algorithm: jsonwebtoken::Algorithm, holder: PeerId) -> Validation {
        let mut validation = Validation::new(algorithm);
        validation.validate_exp = false;
        let mut asked = vec!["sub"];
        validation.sub = Some(holder.to_string());
        if let Some(issuer) = &self.issuer {
            validation.set_issuer(&[issuer]);
            asked.push("iss");
        }
        if let Some(audience) = &self.audience {
            validation.set_audience(&[audience]);
            asked.push("aud");
        }
        validation.set_required_spec_claims(&asked);
        validation
    }
}

impl TicketValidator for Jwt {
    fn class(&self) -> &str {
        &self.class
    }

    fn validate(
        &self,
        ticket: &AccessTicket,
        holder: &Entry,
        now: SystemTime,
    ) -> Result<Validity, Rejection> {
        let claims = self.read(&ticket.data, holder.peer())?;
        for (name, value) in &self.claims {
            if claims.more.get(name) != Some(value) {
                let why = format!("its claim `{name}` is not {value}");
                return Err(Rejection::Invalid(why));
            }
        }
        if let Some(begin) = claims.nbf {
            let begin = time(begin).ok_or_else(|| Rejection::Invalid("it never begins".into()))?;
            let begin = begin.checked_sub(self.leeway).unwrap_or(UNIX_EPOCH);
            if begin > now {
                return Err(Rejection::NotYet(begin));
            }
        }
        match claims.exp {
            None if self.unlimited => Ok(Validity::Unlimited),
            None => Err(Rejection::Invalid("it has no end (`exp`)".into())),
            // What is beyond the clock does not end.
            Some(end) => match time(end).and_then(|end| end.checked_add(self.leeway)) {
                None => Ok(Validity::Unlimited),
                Some(end) if end <= now => Err(Rejection::Expired(end)),
                Some(end) => Ok(Validity::Until(end)),
            },
        }
    }
}

impl fmt::Debug for Jwt {
    /// Without the keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jwt")
            .field("class", &self.class)
            .field("issuer", &self.issuer)
            .field("audience", &self.audience)
            .field("claims", &self.claims)
            .finish_non_exhaustive()
    }
}

/// Makes tickets that [`Jwt`] accepts: for tools, tests, and whoever has no other issuer of tokens.
#[derive(Clone)]
pub struct JwtIssuer {
    class: String,
    algorithm: jsonwebtoken::Algorithm,
    key: EncodingKey,
    claims: BTreeMap<String, Value>,
}

impl JwtIssuer {
    /// Signs with a secret.
    ///
    /// # Errors
    /// When the secret is empty, or the algorithm takes no secret.
    pub fn secret(algorithm: Algorithm, secret: impl AsRef<[u8]>) -> Result<Self, JwtError> {
        let Family::Secret = algorithm.family() else {
            return Err(JwtError::Kind(algorithm));
        };
        let key = EncodingKey::from_secret(not_empty(secret.as_ref())?).map_err(unusable)?;
        Ok(Self::new(algorithm, key))
    }

    /// Signs with a private key, in PEM.
    ///
    /// # Errors
    /// When the key is none of the algorithm's.
    pub fn private_key(algorithm: Algorithm, pem: impl AsRef<[u8]>) -> Result<Self, JwtError> {
        let pem = pem.as_ref();
        let key = match algorithm.family() {
            Family::Secret => return Err(JwtError::Kind(algorithm)),
            Family::Ec => EncodingKey::from_ec_pem(pem),
            Family::Ed => EncodingKey::from_ed_pem(pem),
            Family::Rsa => EncodingKey::from_rsa_pem(pem),
        };
        Ok(Self::new(algorithm, key.map_err(unusable)?))
    }

    fn new(algorithm: Algorithm, key: EncodingKey) -> Self {
        install_provider();
        Self {
            class: CLASS.into(),
            algorithm: algorithm.get(),
            key,
            claims: BTreeMap::new(),
        }
    }

    /// The class of the tickets. Default `jwt`.
    pub fn class(mut self, class: impl Into<String>) -> Self {
        self.class = class.into();
        self
    }

    /// Who issues them, the claim `iss`. Default: it is not said.
    pub fn issuer(self, issuer: impl Into<String>) -> Self {
        self.claim("iss", issuer.into())
    }

    /// Whom they are for, the claim `aud`. Default: it is not said.
    pub fn audience(self, audience: impl Into<String>) -> Self {
        self.claim("aud", audience.into())
    }

    /// Another claim. Several add up; those that this makes itself (`sub`, `exp`) are not replaced.
    pub fn claim(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.claims.insert(name.into(), value.into());
        self
    }

    /// A ticket for this peer that is valid for so long from now on.
    ///
    /// # Errors
    /// When it cannot be signed.
    pub fn issue(&self, holder: PeerId, valid_for: Duration) -> Result<AccessTicket, JwtError> {
        let now = Duration::from_millis(rt::unix_millis());
        let mut more = self.claims.clone();
        more.retain(|name, _| name != "sub" && name != "exp");
        let nbf = more.remove("nbf").and_then(|value| value.as_f64());
        let claims = Claims {
            sub: holder.to_string(),
            exp: Some(now.saturating_add(valid_for).as_secs_f64()),
            nbf,
            more,
        };
        let token = jsonwebtoken::encode(&Header::new(self.algorithm), &claims, &self.key);
        let token = token.map_err(|error| JwtError::Signing(error.to_string()))?;
        Ok(AccessTicket {
            class: self.class.clone(),
            data: Bytes::from(token),
        })
    }
}

impl fmt::Debug for JwtIssuer {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JwtIssuer")
            .field("class", &self.class)
            .field("claims", &self.claims)
            .finish_non_exhaustive()
    }
}

/// A program that links two providers of its cryptography has to choose; ours is chosen where it has not.
fn install_provider() {
    if CryptoProvider::try_get_default().is_none() {
        // Another thread may have been first; any will do.
        let _ = rust_crypto::DEFAULT_PROVIDER.install_default();
    }
}

/// A time in seconds since 1970, `None` beyond what the clock has. What is before it is 1970.
fn time(seconds: f64) -> Option<SystemTime> {
    let since = Duration::try_from_secs_f64(seconds.max(0.0)).ok()?;
    UNIX_EPOCH.checked_add(since)
}

fn not_empty(secret: &[u8]) -> Result<&[u8], JwtError> {
    if secret.is_empty() {
        return Err(JwtError::Key("the secret is empty".into()));
    }
    Ok(secret)
}

fn unusable(error: errors::Error) -> JwtError {
    JwtError::Key(error.to_string())
}

/// What is wrong with a token, in words.
fn reason(error: &errors::Error) -> String {
    match error.kind() {
        errors::ErrorKind::InvalidSubject => {
            "its subject (`sub`) is not the peer that carries it".into()
        }
        errors::ErrorKind::InvalidSignature => "it is not signed with the key".into(),
        errors::ErrorKind::InvalidIssuer => "its issuer (`iss`) is another".into(),
        errors::ErrorKind::InvalidAudience => "it is for another audience (`aud`)".into(),
        errors::ErrorKind::MissingRequiredClaim(claim) => format!("it has no claim `{claim}`"),
        errors::ErrorKind::InvalidAlgorithm => "it is signed by another algorithm".into(),
        _ => format!("it is no token that can be read: {error}"),
    }
}

#[cfg(test)]
mod tests;
