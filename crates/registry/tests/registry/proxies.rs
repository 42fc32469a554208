//! Through proxies: plain HTTP, CONNECT, credentials for the proxy, and hosts that are reached directly.

use cooper_registry::{ProxySettings, Security};

use crate::fixture::{Setup, http_through, words};
use crate::server::Server;

fn through(proxy: &str, no_proxy: Option<&str>, host: &str, security: Security) -> Setup {
    let address = Some(format!("http://us%40er:pw@{proxy}"));
    let mut setup = Setup::new(host);
    setup.options.security = security;
    setup.http = http_through(ProxySettings {
        http: address.clone(),
        https: address,
        no_proxy: no_proxy.map(str::to_owned),
    });
    setup
}

#[test]
fn requests_go_through_the_proxy() {
    let proxy = Server::http(|exchange| match exchange.method.as_str() {
        "CONNECT" => exchange.reply("403 Forbidden", &[], b""),
        _ => exchange.reply("200 OK", &[], b""),
    });
    let setup = through(
        &proxy.host(),
        None,
        "registry.example.com:5000",
        Security::Unverified,
    );
    setup.endpoint().check_credentials().unwrap();
    let seen = proxy.seen();
    let lines: Vec<String> = seen.iter().map(super::server::Seen::line).collect();
    assert_eq!(
        lines,
        [
            "CONNECT registry.example.com:5000",
            "GET http://registry.example.com:5000/v2/",
            "GET http://registry.example.com:5000/v2/"
        ]
    );
    for request in &seen {
        assert_eq!(
            request.header("proxy-authorization"),
            Some("Basic dXNAZXI6cHc="),
            "{request:?}"
        );
    }
}

#[test]
fn a_proxy_that_refuses_is_named_as_the_reason() {
    let proxy =
        Server::http(|exchange| exchange.reply("407 Proxy Authentication Required", &[], b""));
    let setup = through(
        &proxy.host(),
        None,
        "registry.example.com",
        Security::Verified,
    );
    let error = setup.endpoint().check_credentials().unwrap_err();
    let text = words(&error);
    assert!(
        text.contains("Get \"https://registry.example.com/v2/\": ") && text.contains("proxy"),
        "{text}"
    );
    assert!(
        !text.contains("pw") && !format!("{error:?}").contains("pw@"),
        "{text} {error:?}"
    );
    assert_eq!(proxy.lines(), ["CONNECT registry.example.com:443"]);
}

#[test]
fn some_hosts_are_reached_directly() {
    let server = Server::http(|exchange| exchange.reply("200 OK", &[], b""));
    let proxy = Server::http(|exchange| exchange.reply("500 Not Me", &[], b""));
    through(&proxy.host(), None, &server.host(), Security::Unverified)
        .endpoint()
        .check_credentials()
        .unwrap();
    let setup = through(
        &proxy.host(),
        Some(".invalid"),
        "no-such.invalid",
        Security::Unverified,
    );
    let error = setup.endpoint().check_credentials().unwrap_err();
    assert!(
        words(&error).contains("lookup no-such.invalid"),
        "{}",
        words(&error)
    );
    assert!(proxy.seen().is_empty());
}
