//! A DNS server over UDP that knows one name, whose addresses change on command.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::Result;
use tokio::{net::UdpSocket, task::JoinHandle};

/// The length of a DNS header, in bytes.
const HEADER: usize = 12;
/// Response, recursion available.
const FLAGS: u16 = 0x8180;
const SERVER_FAILURE: u16 = 2;
const NO_SUCH_NAME: u16 = 3;
const A: u16 = 1;
const AAAA: u16 = 28;

/// What the server says of its name.
#[derive(Clone, Debug)]
enum Answer {
    Addresses(Vec<IpAddr>),
    Failure,
}

/// A running server on a free port of 127.0.0.1.
pub struct DnsServer {
    address: SocketAddr,
    answer: Arc<Mutex<Answer>>,
    task: JoinHandle<()>,
}

impl DnsServer {
    /// Starts a server that knows `name` at these addresses. Other names do not exist.
    pub async fn start(name: &str, addresses: &[IpAddr]) -> Result<Self> {
        let socket = UdpSocket::bind(("127.0.0.1", 0)).await?;
        let address = socket.local_addr()?;
        let answer = Arc::new(Mutex::new(Answer::Addresses(addresses.to_vec())));
        let (known, current) = (labels(name), Arc::clone(&answer));
        let task = tokio::spawn(async move {
            let mut query = [0; 512];
            while let Ok((length, client)) = socket.recv_from(&mut query).await {
                let answer = current.lock().unwrap_or_else(PoisonError::into_inner).clone();
                if let Some(response) = respond(&query[..length], &known, &answer) {
                    let _ = socket.send_to(&response, client).await;
                }
            }
        });
        Ok(Self { address, answer, task })
    }

    /// Its address and port.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Replaces the addresses of the name.
    pub fn set(&self, addresses: &[IpAddr]) {
        self.set_answer(Answer::Addresses(addresses.to_vec()));
    }

    /// From now on each query fails.
    pub fn fail(&self) {
        self.set_answer(Answer::Failure);
    }

    fn set_answer(&self, answer: Answer) {
        *self.answer.lock().unwrap_or_else(PoisonError::into_inner) = answer;
    }
}

impl Drop for DnsServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The name as a DNS message has it.
fn labels(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in name.split('.') {
        bytes.push(u8::try_from(label.len()).unwrap_or(u8::MAX));
        bytes.extend_from_slice(label.to_lowercase().as_bytes());
    }
    bytes.push(0);
    bytes
}

/// Answers a query with one question. Returns `None` for what is no query.
fn respond(query: &[u8], known: &[u8], answer: &Answer) -> Option<Vec<u8>> {
    let name_length = query.get(HEADER..)?.iter().position(|byte| *byte == 0)? + 1;
    let name = query[HEADER..HEADER + name_length].to_ascii_lowercase();
    let question = query.get(HEADER..HEADER + name_length + 4)?;
    let kind = u16::from_be_bytes([question[name_length], question[name_length + 1]]);
    let (code, addresses) = match answer {
        Answer::Failure => (SERVER_FAILURE, &[][..]),
        Answer::Addresses(_) if name != known => (NO_SUCH_NAME, &[][..]),
        Answer::Addresses(addresses) => (0, &**addresses),
    };
    let records: Vec<Vec<u8>> = addresses
        .iter()
        .filter_map(|address| match address {
            IpAddr::V4(address) if kind == A => Some(address.octets().to_vec()),
            IpAddr::V6(address) if kind == AAAA => Some(address.octets().to_vec()),
            _ => None,
        })
        .collect();
    let count = u16::try_from(records.len()).ok()?;
    let mut response = query[..2].to_vec();
    for number in [FLAGS | code, 1, count, 0, 0] {
        response.extend_from_slice(&number.to_be_bytes());
    }
    response.extend_from_slice(question);
    for record in records {
        // The name of the question, class IN, and no time to live.
        for number in [0xc00c, kind, 1, 0, 0, u16::try_from(record.len()).ok()?] {
            response.extend_from_slice(&number.to_be_bytes());
        }
        response.extend_from_slice(&record);
    }
    Some(response)
}
