"""RPC: the operations of an app over gRPC, gRPC-Web and Connect."""
