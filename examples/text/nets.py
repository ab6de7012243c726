"""Transformers for tokens (batch, length), of which 0 is padding."""

from torch import nn
from torch.nn import functional as F


class Block(nn.Module):
    """Attention, then two linear layers, each added to what it gets."""

    def __init__(self, width, n_heads):
        super().__init__()
        self.n_heads = n_heads
        self.attention_norm, self.mlp_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.projection = nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, x, is_word):
        n, length, width = x.shape
        heads = self.query_key_value(self.attention_norm(x))
        heads = heads.reshape(n, length, 3, self.n_heads, -1).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(*heads, attn_mask=is_word[:, None, None])
        x = x + self.projection(attended.transpose(1, 2).reshape(n, length, width))
        return x + self.mlp(self.mlp_norm(x))


class Transformer(nn.Module):
    def __init__(self, n_classes, length, n_words, width, n_blocks, n_heads):
        super().__init__()
        self.words = nn.Embedding(n_words + 2, width)
        self.places = nn.Embedding(length, width)
        for embedding in (self.words, self.places):
            nn.init.normal_(embedding.weight, std=0.1)
        self.blocks = nn.ModuleList(Block(width, n_heads) for _ in range(n_blocks))
        self.norm = nn.LayerNorm(width)
        self.readout = nn.Linear(width, n_classes)

    def forward(self, tokens):
        is_word = tokens != 0
        x = self.words(tokens) + self.places.weight
        for block in self.blocks:
            x = block(x, is_word)
        # The mean over the words.
        share = is_word / is_word.sum(1, keepdim=True).clamp(min=1)
        return self.readout((self.norm(x) * share[..., None]).sum(1))


def transformer(n_classes, input_shape, n_words=1000, width=32, n_blocks=2, n_heads=4):
    return Transformer(n_classes, *input_shape, n_words, width, n_blocks, n_heads)


class Logits(nn.Module):
    """A classifier of the package transformers: its logits for tokens, of which 0 is padding."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, tokens):
        return self.network(input_ids=tokens, attention_mask=(tokens != 0).long()).logits


def gpt2(n_classes, input_shape, n_words=1000, width=32, n_blocks=2, n_heads=4):
    """A small GPT-2 with random weights, which reads out the last word."""
    from transformers import GPT2Config, GPT2ForSequenceClassification

    config = GPT2Config(
        vocab_size=n_words + 2,
        n_positions=input_shape[0],
        n_embd=width,
        n_layer=n_blocks,
        n_head=n_heads,
        num_labels=n_classes,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=None,
        initializer_range=0.1,
    )
    return Logits(GPT2ForSequenceClassification(config))
