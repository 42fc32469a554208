//! A forward proxy as `HTTPS_PROXY` names one: it opens tunnels and remembers where to.

use std::io::{self, BufReader, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;

use crate::http::{Head, Listener, answer};

/// A running proxy, closed when dropped.
pub struct TunnelProxy {
    listener: Listener,
    targets: Arc<Mutex<Vec<String>>>,
}

impl TunnelProxy {
    /// A proxy all of whose tunnels lead to `to` (`host:port`), whatever name was asked for: a
    /// test can use names that no resolver knows.
    pub fn start(to: &str) -> Result<Self> {
        let targets = Arc::new(Mutex::new(Vec::new()));
        let to = to.to_owned();
        let listener = Listener::start({
            let targets = Arc::clone(&targets);
            move |client| drop(tunnel(client, &to, &targets))
        })?;
        Ok(Self { listener, targets })
    }

    /// The proxy's address, as the environment names it.
    pub fn url(&self) -> String {
        format!("http://{}", self.listener.host())
    }

    /// The targets of every CONNECT so far.
    pub fn targets(&self) -> Vec<String> {
        let targets = self.targets.lock();
        targets.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn tunnel(mut client: TcpStream, to: &str, targets: &Mutex<Vec<String>>) -> io::Result<()> {
    // Nothing follows the head before our answer, so the buffer holds nothing else.
    let Some(head) = Head::read(&mut BufReader::new(client.try_clone()?))? else {
        return Ok(());
    };
    if head.method() != "CONNECT" {
        return answer(&mut client, 400, &[], b"only CONNECT");
    }
    let mut list = targets.lock().unwrap_or_else(PoisonError::into_inner);
    list.push(head.target().to_owned());
    drop(list);
    let mut server = TcpStream::connect(to)?;
    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
    let (mut from_client, mut to_server) = (client.try_clone()?, server.try_clone()?);
    let up = std::thread::spawn(move || {
        let _ = io::copy(&mut from_client, &mut to_server);
        let _ = to_server.shutdown(Shutdown::Write);
    });
    io::copy(&mut server, &mut client)?;
    client.shutdown(Shutdown::Both)?;
    let _ = up.join();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::curl;

    #[test]
    fn tunnels_lead_to_the_one_server() {
        let server = Listener::start(|stream| {
            let _ = Head::read(&mut BufReader::new(&stream));
            let _ = answer(&mut &stream, 202, &[("Connection", "close")], b"");
        })
        .unwrap();
        let proxy = TunnelProxy::start(&server.host()).unwrap();
        let words = ["-p", "-x", &proxy.url(), "http://no.such.host.example:81/"];
        assert_eq!(curl::status(&words).unwrap(), "202");
        assert_eq!(proxy.targets(), ["no.such.host.example:81"]);
    }
}
