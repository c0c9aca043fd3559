"""The contract as Protocol Buffers: messages, services and the numbers that they keep."""
