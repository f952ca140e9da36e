//! A password becomes a token, and a token is given back.

use serde::Deserialize;

use crate::base::secret::Secret;
use crate::error::{Error, ErrorKind, Result};
use crate::ovirt::client::answer::Answer;
use crate::ovirt::client::path::encode;

/// Where tokens come from.
pub(super) const TOKEN_PATH: &str = "/ovirt-engine/sso/oauth/token";
/// Where they are given back.
pub(super) const LOGOUT_PATH: &str = "/ovirt-engine/services/sso-logout";
/// The kind of both forms.
pub(super) const FORM: &str = "application/x-www-form-urlencoded";

const SCOPE: &str = "ovirt-app-api";

/// The form that asks for a token.
pub(super) fn token_form(user: &str, password: &Secret) -> Secret {
    let fields = [("username", user.as_bytes()), ("password", password.expose())];
    form("grant_type=password", &fields)
}

/// The form that gives it back.
pub(super) fn logout_form(token: &Secret) -> Secret {
    form("", &[("token", token.expose())])
}

fn form(start: &str, fields: &[(&str, &[u8])]) -> Secret {
    let longest: usize = fields.iter().map(|(key, value)| key.len() + 3 * value.len() + 2).sum();
    let mut text = String::with_capacity(start.len() + longest + SCOPE.len() + 8);
    text.push_str(start);
    for (key, value) in [("scope", SCOPE.as_bytes())].iter().chain(fields) {
        if !text.is_empty() {
            text.push('&');
        }
        text.push_str(key);
        text.push('=');
        encode(value, &mut text);
    }
    Secret::new(text.into_bytes())
}

#[derive(Deserialize)]
struct TokenAnswer {
    access_token: Option<String>,
    error: Option<String>,
    error_code: Option<String>,
    error_description: Option<String>,
}

/// The token, or why there is none. A wrong password is answered with 400 or 401.
pub(super) fn token(answer: &Answer, user: &str) -> Result<Secret> {
    let document: Option<TokenAnswer> = answer.json().ok();
    let Some(document) = document else {
        let what = format!("the engine answered the login with {}", answer.status);
        let kind = if answer.status == 401 { ErrorKind::Denied } else { ErrorKind::Remote };
        return Err(Error::new(kind, what));
    };
    if let Some(token) = document.access_token.filter(|_| answer.is_success()) {
        return Ok(Secret::new(token.into_bytes()));
    }
    // The text and its code change places between versions.
    let texts = [document.error, document.error_description, document.error_code];
    let text = texts.into_iter().flatten().max_by_key(String::len).unwrap_or_default();
    let what = format!("the engine refuses to log in {user:?}");
    let kind = if answer.status >= 500 { ErrorKind::Remote } else { ErrorKind::Denied };
    Err(Error::new(kind, what).because(format!("the engine answered {}: {text}", answer.status)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        let content_type = "application/json".to_owned();
        Answer { status, content_type, body: Secret::from(body) }
    }

    #[test]
    fn every_byte_of_a_password_arrives() {
        let form = token_form("bkp@internal", &Secret::from("a&b=c+d %é"));
        let text = std::str::from_utf8(form.expose()).unwrap();
        let expected = "grant_type=password&scope=ovirt-app-api&username=bkp%40internal\
                        &password=a%26b%3Dc%2Bd%20%25%C3%A9";
        assert_eq!(text, expected);
        assert_eq!(logout_form(&Secret::from("k3")).expose(), b"scope=ovirt-app-api&token=k3");
    }

    #[test]
    fn a_refused_login_is_told_in_both_layouts_of_its_error() {
        let told = "Cannot authenticate user 'x@internal': wrong";
        for body in [
            format!(r#"{{"error_code":"access_denied","error":"{told}"}}"#),
            format!(r#"{{"error":"access_denied","error_description":"{told}"}}"#),
        ] {
            for status in [400, 401] {
                let error = token(&answer(status, &body), "x@internal").err().unwrap();
                assert_eq!(error.kind(), ErrorKind::Denied);
                assert!(error.chain().ends_with(told), "{error:?}");
            }
        }
    }

    #[test]
    fn a_server_that_fails_did_not_refuse_the_password() {
        let error = token(&answer(500, r#"{"error":"server_error"}"#), "x").err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Remote);
        let page = Answer { content_type: "text/html".to_owned(), ..answer(503, "<html>") };
        assert_eq!(token(&page, "x").err().unwrap().kind(), ErrorKind::Remote);
    }
}
