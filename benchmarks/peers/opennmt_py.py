"""OpenNMT-py 3.5 as a program of `benchmarks.decoding`: its own models, searched by its own `Translator`.

Greedy search is its `GreedySearch` (`random_sampling_topk=1`); `beam_size=1` would be a beam search of one beam. The
end token's score is forbidden by the generator's bias and not by `min_length`. At `max_length` every beam counts as
finished; until then no sentence leaves the batch, and all beams are decoded at every step.
"""

import functools
import importlib.metadata

import onmt.opts
import torch
from onmt.constants import DefaultTokens
from onmt.model_builder import build_base_model
from onmt.translate import GNMTGlobalScorer, Translator
from onmt.utils.parse import ArgumentParser
from pyonmttok import build_vocab_from_tokens
from turns import FORBIDDEN, PAD, serve

torch.set_num_threads(1)
torch.set_num_interop_threads(1)

SHARED = "-data none -share_vocab -share_embeddings -share_decoder_embeddings -src_vocab none -model_type text"
SHAPES = {
    "transformer": "-encoder_type transformer -decoder_type transformer -layers 4 -hidden_size 128 -word_vec_size 128 "
    "-heads 4 -transformer_ff 256 -position_encoding -pos_ffn_activation_fn relu",
    "lstm": "-encoder_type brnn -decoder_type rnn -rnn_type LSTM -layers 2 -hidden_size 256 -word_vec_size 256 "
    "-global_attention general",
}


@functools.cache
def built(name, vocabulary_size):
    parser = ArgumentParser()
    onmt.opts.train_opts(parser)
    options = parser.parse_args(f"{SHARED} {SHAPES[name]}".split())
    ArgumentParser.update_model_opts(options)
    specials = [DefaultTokens.PAD, DefaultTokens.UNK, DefaultTokens.BOS, DefaultTokens.EOS]  # ids 0 to 3, as ours
    pieces = [f"piece{i}" for i in range(vocabulary_size - len(specials))]
    vocabulary = build_vocab_from_tokens(pieces, special_tokens=specials)
    vocabulary.default_id = vocabulary[DefaultTokens.UNK]
    vocabularies = {"src": vocabulary, "tgt": vocabulary, "decoder_start_token": DefaultTokens.BOS}
    assert len(vocabulary) == vocabulary_size and vocabulary[DefaultTokens.PAD] == PAD
    model = build_base_model(options, vocabularies)
    torch.manual_seed(1)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.xavier_uniform_(parameter)
        else:
            torch.nn.init.zeros_(parameter)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, torch.nn.LayerNorm):
                module.weight.fill_(1)
        model.generator.bias[vocabulary[DefaultTokens.EOS]] = FORBIDDEN
    return model.eval(), vocabularies


def prepare(num_beams, options):
    model, vocabularies = built(options.model, options.vocabulary_size)
    translator = Translator(
        model,
        vocabularies,
        beam_size=num_beams,
        n_best=num_beams,
        random_sampling_topk=1 if num_beams == 1 else 0,
        max_length=options.max_length,
        max_length_ratio=0,
        global_scorer=GNMTGlobalScorer(0.0, 0.0, "none", "none"),
    )

    def decode(ids, lengths):
        batch = {"src": torch.tensor(ids, dtype=torch.long)[:, :, None], "srclen": torch.tensor(lengths)}
        found = translator.translate_batch(batch, attn_debug=False)["predictions"]  # per sentence its n best
        return [[len(each) for each in best] for best in found]

    return decode


serve(f"OpenNMT-py {importlib.metadata.version('OpenNMT-py')} (torch {torch.__version__})", prepare)
