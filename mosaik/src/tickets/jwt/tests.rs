//! Which tokens are valid, and what is said of the others.

use super::*;
use crate::id::SecretKey;

const EC: [&str; 2] = [include_str!("keys/ec.pem"), include_str!("keys/ec.pub.pem")];
const ED: [&str; 2] = [include_str!("keys/ed.pem"), include_str!("keys/ed.pub.pem")];
const RSA: [&str; 2] = [
    include_str!("keys/rsa.pem"),
    include_str!("keys/rsa.pub.pem"),
];
const MINUTE: Duration = Duration::from_secs(60);

fn checker() -> Jwt {
    Jwt::secret(Algorithm::Hs256, "s3cret").unwrap()
}

fn issuer() -> JwtIssuer {
    JwtIssuer::secret(Algorithm::Hs256, "s3cret").unwrap()
}

fn key() -> SecretKey {
    SecretKey::from_bytes([1; 32])
}

fn check_at(jwt: &Jwt, ticket: &AccessTicket, now: SystemTime) -> Result<Validity, Rejection> {
    let holder = Entry::carrying(vec![ticket.clone()], &key());
    jwt.validate(ticket, &holder, now)
}

fn check(jwt: &Jwt, ticket: &AccessTicket) -> Result<Validity, Rejection> {
    check_at(
        jwt,
        ticket,
        UNIX_EPOCH + Duration::from_millis(rt::unix_millis()),
    )
}

fn invalid(jwt: &Jwt, ticket: &AccessTicket) -> String {
    match check(jwt, ticket) {
        Err(Rejection::Invalid(why)) => why,
        other => panic!("{other:?}"),
    }
}

/// A token of exactly these claims.
fn token(claims: &Value) -> AccessTicket {
    let token = jsonwebtoken::encode(&Header::default(), claims, &issuer().key);
    AccessTicket {
        class: "jwt".into(),
        data: Bytes::from(token.unwrap()),
    }
}

#[test]
fn every_algorithm_signs_and_checks() {
    let pairs = [
        (Algorithm::Es256, EC),
        (Algorithm::EdDsa, ED),
        (Algorithm::Rs256, RSA),
        (Algorithm::Rs384, RSA),
        (Algorithm::Rs512, RSA),
        (Algorithm::Ps256, RSA),
        (Algorithm::Ps384, RSA),
        (Algorithm::Ps512, RSA),
    ];
    let pairs = pairs.map(|(algorithm, [private, public])| {
        let issuer = JwtIssuer::private_key(algorithm, private).unwrap();
        (issuer, Jwt::public_key(algorithm, public).unwrap())
    });
    let secrets = [Algorithm::Hs256, Algorithm::Hs384, Algorithm::Hs512].map(|algorithm| {
        let issuer = JwtIssuer::secret(algorithm, "s3cret").unwrap();
        (issuer, Jwt::secret(algorithm, "s3cret").unwrap())
    });
    let all: Vec<_> = pairs.into_iter().chain(secrets).collect();
    for (i, (issuer, _)) in all.iter().enumerate() {
        let ticket = issuer.issue(key().peer(), MINUTE).unwrap();
        for (j, (_, jwt)) in all.iter().enumerate() {
            let checked = check(jwt, &ticket);
            assert_eq!(checked.is_ok(), i == j, "{i} {j}: {checked:?}");
        }
    }
}

#[test]
fn a_key_of_another_kind_is_refused() {
    let kind = |result: Result<Jwt, JwtError>| matches!(result, Err(JwtError::Kind(_)));
    assert!(kind(Jwt::secret(Algorithm::Es256, "s3cret")));
    assert!(kind(Jwt::public_key(Algorithm::Hs256, EC[1])));
    for (algorithm, pem) in [
        (Algorithm::Es256, RSA[1]),
        (Algorithm::Rs256, EC[1]),
        (Algorithm::EdDsa, "no key"),
    ] {
        let refused = Jwt::public_key(algorithm, pem);
        assert!(matches!(refused, Err(JwtError::Key(_))), "{refused:?}");
        let refused = JwtIssuer::private_key(algorithm, pem);
        assert!(matches!(refused, Err(JwtError::Key(_))), "{refused:?}");
    }
    let refused = Jwt::secret(Algorithm::Hs256, "").unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the key cannot be used: the secret is empty"
    );
    assert_eq!(
        JwtError::Kind(Algorithm::Es256).to_string(),
        "Es256 takes a key in PEM"
    );
}

#[test]
fn a_token_is_its_holders_alone() {
    let ticket = issuer().issue(key().peer(), MINUTE).unwrap();
    assert!(check(&checker(), &ticket).is_ok());
    let other = SecretKey::from_bytes([2; 32]);
    let holder = Entry::carrying(vec![ticket.clone()], &other);
    let stolen = checker().validate(
        &ticket,
        &holder,
        UNIX_EPOCH + Duration::from_millis(rt::unix_millis()),
    );
    let why = "its subject (`sub`) is not the peer that carries it".to_owned();
    assert_eq!(stolen, Err(Rejection::Invalid(why)));
    let nobodys = token(&serde_json::json!({ "exp": 4_000_000_000_u64 }));
    assert_eq!(invalid(&checker(), &nobodys), "it has no claim `sub`");
}

#[test]
fn a_token_is_valid_up_to_its_end() {
    let exact = checker().leeway(Duration::ZERO);
    let peer = key().peer().to_string();
    let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
    let ticket = token(&serde_json::json!({ "sub": peer, "nbf": 1000, "exp": 2000 }));
    assert_eq!(
        check_at(&exact, &ticket, at(999)),
        Err(Rejection::NotYet(at(1000)))
    );
    for now in [1000, 1999] {
        assert_eq!(
            check_at(&exact, &ticket, at(now)),
            Ok(Validity::Until(at(2000)))
        );
    }
    assert_eq!(
        check_at(&exact, &ticket, at(2000)),
        Err(Rejection::Expired(at(2000)))
    );
    // Clocks differ.
    assert_eq!(
        check_at(&checker(), &ticket, at(996)),
        Ok(Validity::Until(at(2005)))
    );
    let endless = token(&serde_json::json!({ "sub": peer }));
    assert_eq!(invalid(&exact, &endless), "it has no end (`exp`)");
    let unlimited = checker().unlimited();
    assert_eq!(check(&unlimited, &endless), Ok(Validity::Unlimited));
    assert!(check_at(&unlimited, &ticket, at(2006)).is_err());
    let far = token(&serde_json::json!({ "sub": peer, "exp": 1e300 }));
    assert_eq!(check(&exact, &far), Ok(Validity::Unlimited));
    let never = token(&serde_json::json!({ "sub": peer, "exp": 1e300, "nbf": 1e300 }));
    assert_eq!(invalid(&exact, &never), "it never begins");
    let always = token(&serde_json::json!({ "sub": peer, "exp": 2000, "nbf": -1 }));
    assert!(check_at(&exact, &always, at(1)).is_ok());
    let past = token(&serde_json::json!({ "sub": peer, "exp": -1 }));
    assert!(check_at(&exact, &past, at(1)).is_err());
}

#[test]
fn what_else_is_asked_for_must_be_there() {
    let asked = checker()
        .issuer("ops")
        .audience("desk")
        .claim("role", "trader");
    let good = issuer()
        .issuer("ops")
        .audience("desk")
        .claim("role", "trader");
    let issue = |issuer: &JwtIssuer| issuer.issue(key().peer(), MINUTE).unwrap();
    assert!(check(&asked, &issue(&good)).is_ok());
    for (other, why) in [
        (
            good.clone().issuer("x"),
            "its issuer (`iss`) is another".to_owned(),
        ),
        (
            good.clone().audience("x"),
            "it is for another audience (`aud`)".into(),
        ),
        (
            good.clone().claim("role", "clerk"),
            "its claim `role` is not \"trader\"".into(),
        ),
        (issuer().audience("desk"), "it has no claim `iss`".into()),
    ] {
        assert_eq!(invalid(&asked, &issue(&other)), why);
    }
    // What was made for somebody is for nobody else.
    let addressed = issue(&issuer().audience("desk"));
    assert_eq!(
        invalid(&checker(), &addressed),
        "it is for another audience (`aud`)"
    );
    // What the issuer says itself cannot be said otherwise.
    let forged = issue(&issuer().claim("sub", "x").claim("exp", 1));
    assert!(check(&checker(), &forged).is_ok());
}

#[test]
fn keys_can_be_replaced() {
    let next = Jwt::public_key(Algorithm::Es256, EC[1]).unwrap();
    let both = checker().or_key_of(next);
    let old = issuer().issue(key().peer(), MINUTE).unwrap();
    let new = JwtIssuer::private_key(Algorithm::Es256, EC[0]).unwrap();
    let new = new.issue(key().peer(), MINUTE).unwrap();
    assert!(check(&both, &old).is_ok() && check(&both, &new).is_ok());
    assert_eq!(
        invalid(&checker(), &new),
        "it is signed by another algorithm"
    );
}

#[test]
fn garbage_is_rejected_in_words() {
    let ticket = |data: &'static [u8]| AccessTicket {
        class: "jwt".into(),
        data: Bytes::from_static(data),
    };
    for garbage in [&b""[..], b"a.b.c", b"....", &[0xff; 100], b"e30.e30.e30"] {
        let why = invalid(&checker(), &ticket(garbage));
        assert!(why.starts_with("it "), "{why}");
    }
    let mut cut = issuer().issue(key().peer(), MINUTE).unwrap();
    cut.data.truncate(cut.data.len() - 3);
    invalid(&checker(), &cut);
    // No signature at all, and an algorithm that says so.
    invalid(&checker(), &ticket(b"eyJhbGciOiJub25lIn0.eyJzdWIiOiJ4In0."));
}

#[test]
fn keys_are_not_printed() {
    let text = format!("{:?} {:?}", checker(), issuer());
    assert!(!text.contains("s3cret"), "{text}");
}
