// Package link connects the nodes of a cluster. Each node has one port, on which the
// kind of a connection is picked by ALPN, or by a first line where there is no TLS:
//
//   - belfry-ctl, one for each pair of nodes: whether the other is there, its status and
//     its clock, the heartbeats of all Raft groups, gathered for up to 10 ms, and votes
//   - belfry-raft, the entries of one Raft group
//   - belfry-bulk, snapshots of one Raft group
//   - h2, gRPC
//
// On each of them the dialer first says hello: who it is, of which cluster, whom it
// expects. The other answers with a welcome, or with the reason why not, which both
// sides log.
//
// # Certificates
//
// Both sides show a certificate that the other's CA bundle has to vouch for. It names its
// node, and with a URI the cluster, too:
//
//   - a URI belfry://CLUSTER/NODE. CLUSTER is a label; a node whose own certificate has
//     it takes only certificates with the same one.
//   - or a DNS name that is the node's name. The cluster is then told apart by its CA.
//
// The files are read again within seconds when they change, for the connections that are
// made from then on: so a CA is replaced by a bundle of both, then new certificates,
// then a bundle of the new one.
//
// This makes a CA and the certificate of node a in cluster prod (a test runs it):
//
//	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 \
//	  -subj "/CN=belfry nodes" -keyout ca.key -out ca.pem
//	openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes \
//	  -subj "/CN=a" -addext "subjectAltName=URI:belfry://prod/a" \
//	  -addext "extendedKeyUsage=serverAuth,clientAuth" -keyout a.key -out a.csr
//	openssl x509 -req -in a.csr -copy_extensions copy -days 365 \
//	  -CA ca.pem -CAkey ca.key -out a.pem
package link
