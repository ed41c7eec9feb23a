// Package banlist reads and writes lists of networks: from bytes in one of the formats that such lists come in to a sorted
// []netip.Prefix without duplicates, and back. It knows nothing of who enforces them. Package follow keeps configured lists
// up to date from files and URLs, package geo makes them from a GeoIP or ASN database.
//
// # Formats
//
//   - plain: one entry a line. An entry is an address, a network as 192.0.2.0/24 or a range as 192.0.2.5-192.0.2.9 (IPv4
//     only). What follows # or ; is a comment; empty lines do not count.
//   - csv: rows of cells, parted by comma, semicolon or tab, in double quotes where needed. The column is named by the
//     header line, numbered from 1, or the first one that holds an entry. Lines that begin with # are comments.
//   - drop-json: as Spamhaus DROP has it: one JSON object a line with the key "cidr", and at the end one with "type":
//     "metadata", whose "records" must fit. A JSON array of such objects or of strings is taken, too.
//   - apiban: as APIBAN answers: {"ipaddress": ["192.0.2.1", ...], "ID": "..."}; "ips" is taken for "ipaddress". Several such answers
//     may follow each other.
//   - auto: whichever of them it looks like.
//
// # What becomes of an entry
//
// Bits behind the prefix length are cleared and counted. An IPv4 address in IPv6 form becomes IPv4. An entry that is the same
// as another one, or lies within a wider one, is left out. Refused, and counted by its reason (Refusal), is what is no
// address, what is wider than an IPv4 /8 or an IPv6 /16, and whatever no packet from outside may bear as its source: this
// network, unspecified, loopback, multicast and link-local addresses. The first few are kept to show.
//
// # What becomes of a list
//
// It is taken or refused as a whole. Refused is one with too large a part of entries that are no addresses (a web page that
// tells of an error, say), one with too many entries or bytes, and one whose JSON is broken or shorter than it says.
package banlist
