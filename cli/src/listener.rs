//! TCP listeners. The address `[::]` takes IPv4 clients too.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
};

use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

/// How many connections the kernel accepts before the process does.
const BACKLOG: i32 = 1024;

/// Listens on the address. `[::]` means every address of IPv6 and IPv4, and every address of IPv4
/// where the kernel has no IPv6.
pub(crate) async fn bind(addr: SocketAddr) -> io::Result<TcpListener> {
    bind_with(addr, dual_stack).await
}

async fn bind_with(
    addr: SocketAddr,
    dual_stack: impl FnOnce(SocketAddr) -> io::Result<TcpListener>,
) -> io::Result<TcpListener> {
    if !addr.is_ipv6() || !addr.ip().is_unspecified() {
        return TcpListener::bind(addr).await;
    }
    match dual_stack(addr) {
        Err(error) if is_without_ipv6(&error) => {
            let fallback = SocketAddr::from((Ipv4Addr::UNSPECIFIED, addr.port()));
            tracing::info!(address = %addr, %fallback, "this machine has no IPv6, listening on IPv4 only");
            TcpListener::bind(fallback).await
        }
        bound => bound,
    }
}

/// Listens on IPv6 and IPv4. The socket does not follow the kernel's `net.ipv6.bindv6only`.
fn dual_stack(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV6, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_only_v6(false)?;
    // As tokio does: a restart need not wait for old connections.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Whether the kernel has no IPv6, or has switched it off.
fn is_without_ipv6(error: &io::Error) -> bool {
    [Errno::AFNOSUPPORT, Errno::PROTONOSUPPORT, Errno::ADDRNOTAVAIL]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use tokio::net::TcpStream;

    use super::*;

    const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0);

    #[tokio::test]
    async fn every_address_includes_ipv4() {
        let listener = bind(ANY).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
    }

    #[tokio::test]
    async fn ipv4_suffices_where_ipv6_is_off() {
        let off = |_| Err(io::Error::from_raw_os_error(Errno::AFNOSUPPORT.raw_os_error()));
        let listener = bind_with(ANY, off).await.unwrap();
        assert_eq!(listener.local_addr().unwrap().ip(), Ipv4Addr::UNSPECIFIED);
    }

    #[tokio::test]
    async fn a_taken_port_is_an_error_and_no_lack_of_ipv6() {
        let taken = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).await.unwrap();
        let addr = SocketAddr::new(ANY.ip(), taken.local_addr().unwrap().port());
        assert_eq!(bind(addr).await.unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }
}
