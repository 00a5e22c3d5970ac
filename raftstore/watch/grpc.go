package watch

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	serviceName = "belfry.Watch"
	streamName  = "Stream"
)

// Register registers a Server at a gRPC server whose codec passes messages as *[]byte.
// caller returns the id of the node that has opened a stream.
func Register(r grpc.ServiceRegistrar, s *Server, caller func(context.Context) (node string, ok bool)) {
	handle := func(_ any, stream grpc.ServerStream) error {
		node, ok := caller(stream.Context())
		if !ok {
			return status.Error(codes.PermissionDenied, "watch: the caller is no node of this cluster")
		}
		return s.Serve(stream.Context(), node, grpcConn{stream, func() {}})
	}
	r.RegisterService(&grpc.ServiceDesc{
		ServiceName: serviceName,
		HandlerType: (*any)(nil),
		Streams:     []grpc.StreamDesc{{StreamName: streamName, ServerStreams: true, ClientStreams: true, Handler: handle}},
	}, s)
}

// Dial opens a stream to the node at the other end of a connection.
func Dial(ctx context.Context, to grpc.ClientConnInterface) (Conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	desc := &grpc.StreamDesc{StreamName: streamName, ServerStreams: true, ClientStreams: true}
	stream, err := to.NewStream(ctx, desc, "/"+serviceName+"/"+streamName)
	if err != nil {
		cancel()
		return nil, err
	}
	return grpcConn{stream, cancel}, nil
}

// A grpcConn is one end of a gRPC stream. The one of a Server ends when Serve has
// returned.
type grpcConn struct {
	stream interface {
		SendMsg(m any) error
		RecvMsg(m any) error
	}
	cancel context.CancelFunc
}

func (c grpcConn) Send(message []byte) error { return c.stream.SendMsg(&message) }

func (c grpcConn) Recv() (message []byte, err error) {
	err = c.stream.RecvMsg(&message)
	return message, err
}

func (c grpcConn) Close() { c.cancel() }
